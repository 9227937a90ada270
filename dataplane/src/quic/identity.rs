//! Who the peer proved to be.

use rustls_pki_types::CertificateDer;

use super::Quic;
use super::event::ConnId;

impl Quic {
    /// The DER certificates whose private key the peer proved to hold, leaf first, verified against the configured
    /// roots. Empty without client authentication, before [`super::QuicEvent::Connected`] and for stale names.
    #[must_use]
    pub fn peer_certificates(&self, id: ConnId) -> Vec<Vec<u8>> {
        let Some(conn) = self.table.get(id).filter(|conn| !conn.inner.is_handshaking()) else {
            return Vec::new();
        };
        conn.inner
            .crypto_session()
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map(|chain| chain.iter().map(|certificate| certificate.as_ref().to_vec()).collect())
            .unwrap_or_default()
    }
}
