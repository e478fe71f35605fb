//! Whoever looks for a test finds its target.

#[test]
fn each_test_target_is_in_the_contributors_table() {
    let table = include_str!("../../.github/CONTRIBUTING.md");
    let targets = include_str!("../../Cargo.toml").split("[[test]]\nname = \"").skip(1);
    let names: Vec<_> = targets.filter_map(|target| target.split('"').next()).collect();
    assert!(names.contains(&"it"), "{names:?}");
    for name in names {
        assert!(table.contains(&format!("--test {name}` | ")), "{name} is not in the table");
    }
}
