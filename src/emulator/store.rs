//! Containers and blobs, in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use super::clock::Moment;
use super::code::Code;
use super::condition::Version;
use super::lease::Lease;
use super::metadata::Metadata;
use super::properties::Properties;

/// How long the name of a deleted container cannot be had again. Longer in the service, if much was in it.
const DELETION: Duration = Duration::from_secs(30);
/// Of everything that is stored. Locks need next to nothing of it.
const CAPACITY: usize = 64 * 1024 * 1024;
/// What a blob or a container takes beside its texts.
const OVERHEAD: usize = 512;

pub(super) struct Store {
    containers: HashMap<String, Container>,
    /// When their names can be had again.
    deleted: HashMap<String, Moment>,
    size: usize,
    next_etag: u64,
}

pub(super) struct Container {
    /// In the order in which they are listed.
    blobs: BTreeMap<String, Blob>,
    pub(super) metadata: Metadata,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
}

#[derive(Clone)]
pub(super) struct Blob {
    pub(super) content: Content,
    pub(super) properties: Properties,
    pub(super) metadata: Metadata,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
    pub(super) created: SystemTime,
    pub(super) lease: Lease,
}

#[derive(Clone)]
pub(super) enum Content {
    Block(Vec<u8>),
    /// Of zeros alone.
    Page {
        length: usize,
        sequence_number: u64,
    },
    /// Without a block.
    Append,
}

impl Content {
    /// `x-ms-blob-type`
    pub(super) fn blob_type(&self) -> &'static str {
        match self {
            Content::Block(_) => "BlockBlob",
            Content::Page { .. } => "PageBlob",
            Content::Append => "AppendBlob",
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Content::Block(bytes) => bytes.len(),
            Content::Page { length, .. } => *length,
            Content::Append => 0,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Content::Block(bytes) => bytes.clone(),
            Content::Page { length, .. } => vec![0; *length],
            Content::Append => Vec::new(),
        }
    }
}

impl Container {
    pub(super) fn blob(&mut self, name: &str) -> Result<&mut Blob, Code> {
        self.blobs.get_mut(name).ok_or(Code::BlobNotFound)
    }

    /// All from that name on.
    pub(super) fn blobs(&self, from: &str) -> impl Iterator<Item = (&str, &Blob)> {
        let range = (Bound::Included(from), Bound::Unbounded);
        self.blobs.range::<str, _>(range).map(|(name, blob)| (name.as_str(), blob))
    }
}

impl Blob {
    pub(super) fn version(&self) -> Version<'_> {
        Version { etag: &self.etag, modified: self.modified }
    }

    fn size(&self, name: &str) -> usize {
        let content = match &self.content {
            Content::Block(bytes) => bytes.len(),
            Content::Page { .. } | Content::Append => 0,
        };
        OVERHEAD + name.len() + content + self.properties.len() + length(&self.metadata)
    }
}

fn length(metadata: &Metadata) -> usize {
    metadata.iter().map(|(name, value)| name.len() + value.len()).sum()
}

impl Store {
    /// ETags are told apart from those of earlier servers by its `date`.
    pub(super) fn new(date: SystemTime) -> Store {
        let since = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let next_etag = u64::try_from(since.as_micros()).unwrap_or_default();
        Store { containers: HashMap::new(), deleted: HashMap::new(), size: 0, next_etag }
    }

    pub(super) fn etag(&mut self) -> String {
        self.next_etag += 1;
        format!("\"0x8D{:X}\"", self.next_etag)
    }

    pub(super) fn container(&mut self, name: &str) -> Result<&mut Container, Code> {
        self.containers.get_mut(name).ok_or(Code::ContainerNotFound)
    }

    pub(super) fn create_container(
        &mut self,
        name: &str,
        metadata: Metadata,
        now: Moment,
        date: SystemTime,
    ) -> Result<&Container, Code> {
        self.deleted.retain(|_, until| now < *until);
        if self.deleted.contains_key(name) {
            return Err(Code::ContainerBeingDeleted);
        }
        if self.containers.contains_key(name) {
            return Err(Code::ContainerAlreadyExists);
        }
        self.resize(0, OVERHEAD + name.len() + length(&metadata))?;
        let container = Container { blobs: BTreeMap::new(), metadata, etag: self.etag(), modified: date };
        Ok(self.containers.entry(name.to_owned()).or_insert(container))
    }

    pub(super) fn delete_container(&mut self, name: &str, now: Moment) -> Result<(), Code> {
        let container = self.containers.remove(name).ok_or(Code::ContainerNotFound)?;
        let blobs: usize = container.blobs.iter().map(|(name, blob)| blob.size(name)).sum();
        self.resize(OVERHEAD + name.len() + length(&container.metadata) + blobs, 0)?;
        self.deleted.insert(name.to_owned(), now.saturating_add(DELETION));
        Ok(())
    }

    /// Puts `blob` in the place of any of that name.
    pub(super) fn put(&mut self, container: &str, name: &str, blob: Blob) -> Result<(), Code> {
        let old = self.container(container)?.blobs.get(name).map_or(0, |old| old.size(name));
        self.resize(old, blob.size(name))?;
        self.container(container)?.blobs.insert(name.to_owned(), blob);
        Ok(())
    }

    pub(super) fn delete(&mut self, container: &str, name: &str) -> Result<(), Code> {
        let blob = self.container(container)?.blobs.remove(name).ok_or(Code::BlobNotFound)?;
        self.resize(blob.size(name), 0)
    }

    fn resize(&mut self, from: usize, to: usize) -> Result<(), Code> {
        let size = self.size.saturating_sub(from) + to;
        if to > from && size > CAPACITY {
            return Err(Code::InternalError);
        }
        self.size = size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Duration::from_secs(5);

    fn blob(bytes: usize) -> Blob {
        Blob {
            content: Content::Block(vec![0; bytes]),
            properties: Properties::default(),
            metadata: Vec::new(),
            etag: String::new(),
            modified: SystemTime::UNIX_EPOCH,
            created: SystemTime::UNIX_EPOCH,
            lease: Lease::default(),
        }
    }

    fn store() -> Store {
        let mut store = Store::new(SystemTime::UNIX_EPOCH);
        store.create_container("locks", Vec::new(), NOW, SystemTime::UNIX_EPOCH).unwrap();
        store
    }

    fn create(store: &mut Store, now: Moment) -> Result<(), Code> {
        store.create_container("locks", Vec::new(), now, SystemTime::UNIX_EPOCH).map(drop)
    }

    #[test]
    fn the_name_of_a_deleted_container_is_free_after_half_a_minute() {
        let mut store = store();
        assert_eq!(create(&mut store, NOW), Err(Code::ContainerAlreadyExists));
        store.delete_container("locks", NOW).unwrap();
        assert_eq!(store.container("locks").err(), Some(Code::ContainerNotFound));
        assert_eq!(store.delete_container("locks", NOW), Err(Code::ContainerNotFound));
        assert_eq!(create(&mut store, NOW + DELETION - Duration::from_nanos(1)), Err(Code::ContainerBeingDeleted));
        assert_eq!(create(&mut store, NOW + DELETION), Ok(()));
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let mut store = store();
        let most = CAPACITY / 1024 / 1024;
        for n in 0..most - 1 {
            store.put("locks", &n.to_string(), blob(1024 * 1024)).unwrap();
        }
        assert_eq!(store.put("locks", "one too many", blob(1024 * 1024)), Err(Code::InternalError));
        store.put("locks", "0", blob(1024 * 1024)).expect("in another's place");
        store.delete("locks", "0").unwrap();
        store.put("locks", "again", blob(1024 * 1024)).unwrap();
        store.delete_container("locks", NOW).unwrap();
        assert_eq!(store.size, 0);
    }

    #[test]
    fn no_two_etags_are_equal() {
        let mut store = store();
        assert_ne!(store.etag(), store.etag());
    }
}
