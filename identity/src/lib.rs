//! `pvc-identity`: who it is. The cluster's own certificate authority, the names that certificates carry, and TLS 1.3
//! for every connection of PVC.
//!
//! ```text
//! Ca ──sign(csr, LeafSpec)──▶ certificate chain ─┐
//! KeyPair ──csr()──▶ (to the issuer)             ├─▶ Credentials ──▶ TlsStore ──▶ TlsListener   (serves)
//!                                ca bundle ──────┘    (on disk)      (in memory)  TlsStore::connect  (calls)
//! Ca ──▶ Vault         (seals other systems' passwords for the cluster's state)
//! JoinToken.pin ──▶ PinnedCa::connect   (calls a coordinator before any certificate is held)
//! ```
//!
//! What holds here, always:
//! * A peer **is** the one `pvc://<cluster-id>/…` name in its certificate ([`Identity`]), never its address or DNS name.
//! * Both sides check the chain *and* that the name belongs to this cluster; a caller also says whom it means to reach
//!   ([`ExpectedPeer`]), so a re-used address cannot put another node in its place.
//! * TLS 1.3 only, one provider (ring), passed explicitly. No session resumption: every connection is verified in full
//!   against the credentials in force at that moment, so that a renewed or rolled CA takes effect at once.
//! * Private keys never leave their host, are mode 0600 on disk, and never appear in `Debug` output or in errors.
//!
//! What never happens here: deciding what a peer *may do*. Roles are replicated state and belong to the coordinator.

mod ca;
mod connection;
mod credentials;
mod durable_file;
mod identity;
mod key;
mod listener;
mod peer;
mod pin;
mod secret;
mod store;
mod token;
mod vault;
mod verify;

pub use ca::{ANY_NODE, Ca, CaError, LEAF_LIFETIME_DEFAULT, LEAF_LIFETIME_MAX, LeafSpec};
pub use connection::TlsConnection;
pub use credentials::{CLOCK_SKEW_MAX, Credentials, CredentialsError};
pub use identity::{Identity, IdentityError};
pub use key::{KeyError, KeyPair};
pub use listener::{ListenerOptions, TlsListener};
pub use peer::{PeerError, PeerIdentity};
pub use pin::{CaPin, PinError};
pub use secret::Secret;
pub use store::{Alpn, ClientAuth, ConnectError, PinnedCa, TlsError, TlsStore};
pub use token::{ApiToken, JoinToken, TokenError};
pub use vault::{Vault, VaultError};
pub use verify::{ExpectedPeer, VerifyError};
