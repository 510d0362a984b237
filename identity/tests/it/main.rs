//! pvc-identity from outside: real certificates, real sockets.

mod authority;
mod credentials;
mod handshake;
mod joining;
mod world;
