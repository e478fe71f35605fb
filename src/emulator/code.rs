//! The service's error codes, and answers that carry them.

/// [Blob service](https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes) and
/// [common](https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes) error codes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    AuthenticationFailed,
    AuthorizationFailure,
    AuthorizationPermissionMismatch,
    AuthorizationProtocolMismatch,
    AuthorizationResourceTypeMismatch,
    AuthorizationServiceMismatch,
    AuthorizationSourceIPMismatch,
    BlobAlreadyExists,
    BlobNotFound,
    ConditionNotMet,
    ContainerAlreadyExists,
    ContainerBeingDeleted,
    ContainerNotFound,
    EmptyMetadataKey,
    InternalError,
    InvalidAuthenticationInfo,
    InvalidBlobType,
    InvalidHeaderValue,
    InvalidMetadata,
    InvalidQueryParameterValue,
    InvalidRange,
    InvalidResourceName,
    /// The service gives it the name of `InvalidAuthenticationInfo`, and another status.
    InvalidToken,
    InvalidUri,
    LeaseAlreadyPresent,
    LeaseIdMismatchWithBlobOperation,
    LeaseIdMismatchWithLeaseOperation,
    LeaseIdMissing,
    LeaseIsBreakingAndCannotBeAcquired,
    LeaseIsBreakingAndCannotBeChanged,
    LeaseIsBrokenAndCannotBeRenewed,
    LeaseNotPresentWithBlobOperation,
    LeaseNotPresentWithContainerOperation,
    LeaseNotPresentWithLeaseOperation,
    MetadataTooLarge,
    MissingRequiredHeader,
    MultipleConditionHeadersNotSupported,
    NoAuthenticationInformation,
    NotImplemented,
    OutOfRangeInput,
    OutOfRangeQueryParameterValue,
    ResourceNotFound,
    SequenceNumberIncrementTooLarge,
    UnauthorizedBlobOverwrite,
}

impl Code {
    pub(super) fn name(self) -> &'static str {
        self.facts().1
    }

    pub(super) fn status(self) -> u16 {
        self.facts().0
    }

    pub(super) fn message(self) -> &'static str {
        self.facts().2
    }

    fn facts(self) -> (u16, &'static str, &'static str) {
        match self {
            Code::AuthenticationFailed => (
                403,
                "AuthenticationFailed",
                "Server failed to authenticate the request. Make sure the value of Authorization header is formed \
                 correctly including the signature.",
            ),
            Code::AuthorizationFailure => {
                (403, "AuthorizationFailure", "This request is not authorized to perform this operation.")
            }
            Code::AuthorizationPermissionMismatch => (
                403,
                "AuthorizationPermissionMismatch",
                "This request is not authorized to perform this operation using this permission.",
            ),
            Code::AuthorizationProtocolMismatch => (
                403,
                "AuthorizationProtocolMismatch",
                "This request is not authorized to perform this operation using this protocol.",
            ),
            Code::AuthorizationResourceTypeMismatch => (
                403,
                "AuthorizationResourceTypeMismatch",
                "This request is not authorized to perform this operation using this resource type.",
            ),
            Code::AuthorizationServiceMismatch => (
                403,
                "AuthorizationServiceMismatch",
                "This request is not authorized to perform this operation using this service.",
            ),
            Code::AuthorizationSourceIPMismatch => (
                403,
                "AuthorizationSourceIPMismatch",
                "This request is not authorized to perform this operation using this source IP.",
            ),
            Code::BlobAlreadyExists => (409, "BlobAlreadyExists", "The specified blob already exists."),
            Code::BlobNotFound => (404, "BlobNotFound", "The specified blob does not exist."),
            Code::ConditionNotMet => {
                (412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
            }
            Code::ContainerAlreadyExists => (409, "ContainerAlreadyExists", "The specified container already exists."),
            Code::ContainerBeingDeleted => {
                (409, "ContainerBeingDeleted", "The specified container is being deleted. Try operation later.")
            }
            Code::ContainerNotFound => (404, "ContainerNotFound", "The specified container does not exist."),
            Code::EmptyMetadataKey => {
                (400, "EmptyMetadataKey", "The key for one of the metadata key-value pairs is empty.")
            }
            Code::InternalError => (500, "InternalError", "Server encountered an internal error. Please try again."),
            Code::InvalidAuthenticationInfo => (
                400,
                "InvalidAuthenticationInfo",
                "Authentication information is not given in the correct format. Check the value of Authorization \
                 header.",
            ),
            Code::InvalidBlobType => (409, "InvalidBlobType", "The blob type is invalid for this operation."),
            Code::InvalidHeaderValue => {
                (400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
            }
            Code::InvalidMetadata => {
                (400, "InvalidMetadata", "The metadata specified is invalid. It has characters that are not permitted.")
            }
            Code::InvalidQueryParameterValue => (
                400,
                "InvalidQueryParameterValue",
                "Value for one of the query parameters specified in the request URI is invalid.",
            ),
            Code::InvalidRange => {
                (416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
            }
            Code::InvalidResourceName => {
                (400, "InvalidResourceName", "The specified resource name contains invalid characters.")
            }
            Code::InvalidToken => (
                401,
                "InvalidAuthenticationInfo",
                "Server failed to authenticate the request. Please refer to the information in the www-authenticate \
                 header.",
            ),
            Code::InvalidUri => (400, "InvalidUri", "The requested URI does not represent any resource on the server."),
            Code::LeaseAlreadyPresent => (409, "LeaseAlreadyPresent", "There is already a lease present."),
            Code::LeaseIdMismatchWithBlobOperation => (
                412,
                "LeaseIdMismatchWithBlobOperation",
                "The lease ID specified did not match the lease ID for the blob.",
            ),
            Code::LeaseIdMismatchWithLeaseOperation => (
                409,
                "LeaseIdMismatchWithLeaseOperation",
                "The lease ID specified did not match the lease ID for the blob.",
            ),
            Code::LeaseIdMissing => (
                412,
                "LeaseIdMissing",
                "There is currently a lease on the blob and no lease ID was specified in the request.",
            ),
            Code::LeaseIsBreakingAndCannotBeAcquired => (
                409,
                "LeaseIsBreakingAndCannotBeAcquired",
                "The lease ID matched, but the lease is currently in breaking state and cannot be acquired until it is \
                 broken.",
            ),
            Code::LeaseIsBreakingAndCannotBeChanged => (
                409,
                "LeaseIsBreakingAndCannotBeChanged",
                "The lease ID matched, but the lease is currently in breaking state and cannot be changed.",
            ),
            Code::LeaseIsBrokenAndCannotBeRenewed => (
                409,
                "LeaseIsBrokenAndCannotBeRenewed",
                "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.",
            ),
            Code::LeaseNotPresentWithBlobOperation => {
                (412, "LeaseNotPresentWithBlobOperation", "There is currently no lease on the blob.")
            }
            Code::LeaseNotPresentWithContainerOperation => {
                (412, "LeaseNotPresentWithContainerOperation", "There is currently no lease on the container.")
            }
            Code::LeaseNotPresentWithLeaseOperation => {
                (409, "LeaseNotPresentWithLeaseOperation", "There is currently no lease on the blob.")
            }
            Code::MetadataTooLarge => {
                (400, "MetadataTooLarge", "The size of the specified metadata exceeds the maximum size permitted.")
            }
            Code::MissingRequiredHeader => {
                (400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified.")
            }
            Code::MultipleConditionHeadersNotSupported => {
                (400, "MultipleConditionHeadersNotSupported", "Multiple condition headers are not supported.")
            }
            Code::NoAuthenticationInformation => (
                401,
                "NoAuthenticationInformation",
                "Server failed to authenticate the request. Please refer to the information in the www-authenticate \
                 header.",
            ),
            Code::NotImplemented => (501, "NotImplemented", "The emulator does not know what this request asks for."),
            Code::OutOfRangeInput => (400, "OutOfRangeInput", "One of the request inputs is out of range."),
            Code::OutOfRangeQueryParameterValue => (
                400,
                "OutOfRangeQueryParameterValue",
                "One of the query parameters specified in the request URI is outside the permissible range.",
            ),
            Code::ResourceNotFound => (404, "ResourceNotFound", "The specified resource does not exist."),
            Code::SequenceNumberIncrementTooLarge => (
                409,
                "SequenceNumberIncrementTooLarge",
                "The sequence number increment cannot be performed because it would result in overflow of the sequence \
                 number.",
            ),
            Code::UnauthorizedBlobOverwrite => {
                (403, "UnauthorizedBlobOverwrite", "This request is not authorized to perform blob overwrites.")
            }
        }
    }
}

/// Why a request is refused, with what the service adds to the code's own text: elements of the body.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(super) code: Code,
    pub(super) details: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn header(code: Code, name: &str, value: Option<&str>) -> Refusal {
        let mut details = vec![("HeaderName", name.to_owned())];
        details.extend(value.map(|value| ("HeaderValue", value.to_owned())));
        Refusal { code, details }
    }

    pub(super) fn parameter(code: Code, name: &str, value: &str) -> Refusal {
        let details = vec![("QueryParameterName", name.to_owned()), ("QueryParameterValue", value.to_owned())];
        Refusal { code, details }
    }

    pub(super) fn authentication(detail: impl Into<String>) -> Refusal {
        Refusal { code: Code::AuthenticationFailed, details: vec![("AuthenticationErrorDetail", detail.into())] }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Refusal {
        Refusal { code, details: Vec::new() }
    }
}
