//! What a request asks for.

/// What a request to the [`Emulator`](super::Emulator) asks for: the operations of the Blob service that locks use.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [Create Container](https://learn.microsoft.com/rest/api/storageservices/create-container)
    CreateContainer,
    /// [Get Container Properties](https://learn.microsoft.com/rest/api/storageservices/get-container-properties)
    GetContainerProperties,
    /// [Delete Container](https://learn.microsoft.com/rest/api/storageservices/delete-container)
    DeleteContainer,
    /// [List Blobs](https://learn.microsoft.com/rest/api/storageservices/list-blobs)
    ListBlobs,
    /// [Put Blob](https://learn.microsoft.com/rest/api/storageservices/put-blob)
    PutBlob,
    /// [Get Blob](https://learn.microsoft.com/rest/api/storageservices/get-blob)
    GetBlob,
    /// [Get Blob Properties](https://learn.microsoft.com/rest/api/storageservices/get-blob-properties)
    GetBlobProperties,
    /// [Delete Blob](https://learn.microsoft.com/rest/api/storageservices/delete-blob)
    DeleteBlob,
    /// [Get Blob Metadata](https://learn.microsoft.com/rest/api/storageservices/get-blob-metadata)
    GetBlobMetadata,
    /// [Set Blob Metadata](https://learn.microsoft.com/rest/api/storageservices/set-blob-metadata)
    SetBlobMetadata,
    /// [Set Blob Properties](https://learn.microsoft.com/rest/api/storageservices/set-blob-properties)
    SetBlobProperties,
    /// [Lease Blob](https://learn.microsoft.com/rest/api/storageservices/lease-blob), `acquire`
    AcquireLease,
    /// Lease Blob, `renew`
    RenewLease,
    /// Lease Blob, `change`
    ChangeLease,
    /// Lease Blob, `release`
    ReleaseLease,
    /// Lease Blob, `break`
    BreakLease,
    /// What the emulator does not do.
    Other,
}

/// Of a container or of a blob in it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Container,
    Blob,
}

impl Operation {
    pub(super) fn of(method: &str, resource: Resource, comp: Option<&str>, lease_action: Option<&str>) -> Operation {
        match (resource, method, comp) {
            (Resource::Container, "PUT", None) => Operation::CreateContainer,
            (Resource::Container, "GET" | "HEAD", None | Some("metadata")) => Operation::GetContainerProperties,
            (Resource::Container, "GET", Some("list")) => Operation::ListBlobs,
            (Resource::Container, "DELETE", None) => Operation::DeleteContainer,
            (Resource::Blob, "PUT", None) => Operation::PutBlob,
            (Resource::Blob, "GET", None) => Operation::GetBlob,
            (Resource::Blob, "HEAD", None) => Operation::GetBlobProperties,
            (Resource::Blob, "DELETE", None) => Operation::DeleteBlob,
            (Resource::Blob, "GET" | "HEAD", Some("metadata")) => Operation::GetBlobMetadata,
            (Resource::Blob, "PUT", Some("metadata")) => Operation::SetBlobMetadata,
            (Resource::Blob, "PUT", Some("properties")) => Operation::SetBlobProperties,
            (Resource::Blob, "PUT", Some("lease")) => match lease_action.map(str::to_ascii_lowercase).as_deref() {
                Some("acquire") => Operation::AcquireLease,
                Some("renew") => Operation::RenewLease,
                Some("change") => Operation::ChangeLease,
                Some("release") => Operation::ReleaseLease,
                Some("break") => Operation::BreakLease,
                _ => Operation::Other,
            },
            _ => Operation::Other,
        }
    }

    pub(super) fn resource(self) -> Resource {
        match self {
            Operation::CreateContainer
            | Operation::GetContainerProperties
            | Operation::DeleteContainer
            | Operation::ListBlobs => Resource::Container,
            _ => Resource::Blob,
        }
    }
}
