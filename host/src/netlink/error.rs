//! Errors of a netlink request, with the kernel's own text for them.

use std::fmt;

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED, NlasIterator};
use nix::errno::Errno;

/// A request that failed.
#[derive(Debug)]
pub struct NetlinkError {
    operation: String,
    kind: NetlinkErrorKind,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetlinkErrorKind {
    /// The kernel refused it.
    Kernel {
        /// The kernel's error.
        errno: Errno,
        /// The kernel's text for it (extended acknowledgement), if there is one.
        text: Option<String>,
    },
    /// There was no answer in time.
    Deadline,
    /// The list changed while the kernel wrote it, or part of the answer was lost: entries may be missing or old.
    Interrupted,
    /// The socket was closed before the answer was complete.
    Closed,
}

impl NetlinkError {
    pub(super) fn new(operation: &str, kind: NetlinkErrorKind) -> Self {
        Self {
            operation: operation.to_owned(),
            kind,
        }
    }

    /// The kernel's error, if the kernel refused the request.
    pub fn errno(&self) -> Option<Errno> {
        match &self.kind {
            NetlinkErrorKind::Kernel { errno, .. } => Some(*errno),
            NetlinkErrorKind::Deadline
            | NetlinkErrorKind::Interrupted
            | NetlinkErrorKind::Closed => None,
        }
    }

    /// Whether the same request may succeed later: the driver was busy, or a list changed while it was written.
    pub fn is_passing(&self) -> bool {
        match &self.kind {
            NetlinkErrorKind::Kernel { errno, .. } => {
                matches!(errno, Errno::EBUSY | Errno::EAGAIN)
            }
            NetlinkErrorKind::Interrupted => true,
            NetlinkErrorKind::Deadline | NetlinkErrorKind::Closed => false,
        }
    }

    /// The reason.
    pub fn kind(&self) -> &NetlinkErrorKind {
        &self.kind
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)
    }
}

impl std::error::Error for NetlinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.kind)
    }
}

impl fmt::Display for NetlinkErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel {
                errno: Errno::EPERM,
                ..
            } => f.write_str("the kernel refuses it (EPERM): this needs CAP_NET_ADMIN"),
            Self::Kernel { errno, text: None } => {
                write!(f, "the kernel refuses it ({errno:?}: {})", errno.desc())
            }
            Self::Kernel {
                errno,
                text: Some(text),
            } => write!(f, "the kernel refuses it ({errno:?}: {text})"),
            Self::Deadline => f.write_str("the kernel did not answer in time"),
            Self::Interrupted => f.write_str(
                "each answer was incomplete: the list changed while the kernel wrote it, or part of it was lost",
            ),
            Self::Closed => {
                f.write_str("the netlink socket was closed before the answer was complete")
            }
        }
    }
}

impl std::error::Error for NetlinkErrorKind {}

/// The text of an extended acknowledgement, which follows the request that the kernel sends back (netlink(7), `NETLINK_EXT_ACK`).
pub(super) fn kernel_text(flags: u16, request: &[u8]) -> Option<String> {
    const HEADER: usize = 16;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let length = if flags & NLM_F_CAPPED == 0 {
        let length = request.first_chunk::<4>()?;
        usize::try_from(u32::from_ne_bytes(*length))
            .ok()?
            .next_multiple_of(4)
    } else {
        HEADER
    };
    let attributes = request.get(length..)?;
    let texts = NlasIterator::new(attributes)
        .map_while(Result::ok)
        .filter(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG);
    let text = texts
        .map(|attribute| {
            String::from_utf8_lossy(attribute.value())
                .trim_end_matches('\0')
                .to_owned()
        })
        .next();
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_kernel_is_found_behind_the_request() {
        let mut capped = vec![0; 16];
        capped.extend([9, 0, 1, 0]);
        capped.extend(b"busy\0\0\0\0");
        assert_eq!(
            kernel_text(NLM_F_ACK_TLVS | NLM_F_CAPPED, &capped),
            Some("busy".into())
        );
        assert_eq!(kernel_text(NLM_F_CAPPED, &capped), None);
        assert_eq!(kernel_text(NLM_F_ACK_TLVS, &[1]), None);
    }

    #[test]
    fn only_a_busy_driver_gets_a_second_request() {
        let error = |errno| NetlinkError::new("x", NetlinkErrorKind::Kernel { errno, text: None });
        for (errno, passing) in [
            (Errno::EBUSY, true),
            (Errno::EAGAIN, true),
            (Errno::EOPNOTSUPP, false),
            (Errno::EINVAL, false),
            (Errno::EPERM, false),
        ] {
            assert_eq!(error(errno).is_passing(), passing, "{errno}");
        }
        assert!(NetlinkError::new("x", NetlinkErrorKind::Interrupted).is_passing());
        assert!(!NetlinkError::new("x", NetlinkErrorKind::Deadline).is_passing());
    }

    #[test]
    fn missing_capability_is_named() {
        let kind = NetlinkErrorKind::Kernel {
            errno: Errno::EPERM,
            text: None,
        };
        assert!(kind.to_string().contains("CAP_NET_ADMIN"));
    }
}
