//! JSON, as far as it is told.

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::clock;

/// One object, written as it grows.
#[derive(Clone, Debug)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Object {
        Object(String::new())
    }

    pub(crate) fn text(self, name: &str, value: impl Display) -> Object {
        let value = quoted(&value.to_string());
        self.value(name, &value)
    }

    pub(crate) fn number(self, name: &str, value: u64) -> Object {
        self.value(name, &value.to_string())
    }

    pub(crate) fn truth(self, name: &str, value: bool) -> Object {
        self.value(name, if value { "true" } else { "false" })
    }

    pub(crate) fn seconds(self, name: &str, value: Duration) -> Object {
        self.value(name, &format!("{:.3}", value.as_secs_f64()))
    }

    /// Of the time since 1970.
    pub(crate) fn time(self, name: &str, since: Duration) -> Object {
        self.text(name, timestamp(since))
    }

    pub(crate) fn object(self, name: &str, value: &Object) -> Object {
        self.value(name, &value.to_string())
    }

    pub(crate) fn array(self, name: &str, values: &[Object]) -> Object {
        let values: Vec<_> = values.iter().map(Object::to_string).collect();
        self.value(name, &format!("[{}]", values.join(",")))
    }

    /// With the time of now, before all else.
    pub(crate) fn with_time(self) -> Object {
        let Object(rest) = Object::new().time("time", clock::wall());
        Object(format!("{rest}{}{}", if self.0.is_empty() { "" } else { "," }, self.0))
    }

    pub(crate) fn line(&self) -> String {
        format!("{self}\n")
    }

    fn value(mut self, name: &str, value: &str) -> Object {
        let comma = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{comma}{}:{value}", quoted(name));
        self
    }
}

impl Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{}}}", self.0)
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// RFC 3339, in UTC, from the time since 1970.
fn timestamp(since: Duration) -> String {
    let (days, seconds) = ((since.as_secs() / 86400) as i64, since.as_secs() % 86400);
    // The civil calendar in eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let (year, day) = (year + era * 400 + i64::from(month <= 2), day_of_year - (153 * shifted_month + 2) / 5 + 1);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_holds_any_text() {
        let object = Object::new().text("a", "x\"\\\n\u{1}\u{85}é").number("b", 7).truth("c", true);
        assert_eq!(object.to_string(), r#"{"a":"x\"\\\n\u0001\u0085é","b":7,"c":true}"#);
        assert_eq!(
            Object::new().array("l", &[object.clone(), Object::new()]).to_string(),
            format!("{{\"l\":[{object},{{}}]}}")
        );
    }

    #[test]
    fn the_time_is_as_others_write_it() {
        let at = |seconds| timestamp(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_795_470_482), "2026-11-23T21:48:02.000Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
    }
}
