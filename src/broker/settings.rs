//! Which Redis, and how to get there.

use redis::io::tcp::TcpSettings;
use redis::{
    ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::{Error, Result};

/// Which Redis, and how to trust it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    pub url: String,
    /// PEM texts; absent ones leave the system's certificates and no client certificate.
    pub ca: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
}

pub fn open(settings: &Settings) -> Result<redis::Client> {
    let bad = |error: redis::RedisError| {
        Error::Args(format!(
            "the URL of Redis can't be used: {error}. Expected redis://, rediss://, unix: or \
             redis+unix:, for instance redis://127.0.0.1:6379"
        ))
    };
    let info = settings.url.as_str().into_connection_info().map_err(bad)?;
    let redis = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    let info = info
        .set_redis_settings(redis)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let encrypted = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if encrypted {
        // Fails where a provider has been installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    if settings.ca.is_none() && settings.cert.is_none() && settings.key.is_none() {
        return redis::Client::open(info).map_err(bad);
    }
    if !encrypted {
        return Err(Error::Args(
            "tls is given, but the URL does not ask for it: expected rediss://".into(),
        ));
    }
    for (name, text) in [("tls.ca", &settings.ca), ("tls.cert", &settings.cert)] {
        if let Some(text) = text
            && CertificateDer::pem_slice_iter(text.as_bytes())
                .next()
                .is_none()
        {
            return Err(Error::Args(format!(
                "{name} holds no certificate: expected PEM text, -----BEGIN CERTIFICATE----- …"
            )));
        }
    }
    let pem = |text: &Option<String>| text.clone().map(String::into_bytes);
    let client_tls = match (pem(&settings.cert), pem(&settings.key)) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig {
            client_cert,
            client_key,
        }),
        (None, None) => None,
        _ => return Err(Error::Args("tls: cert and key go together".into())),
    };
    let certificates = TlsCertificates {
        client_tls,
        root_cert: pem(&settings.ca),
    };
    redis::Client::build_with_tls(info, certificates)
        .map_err(|error| Error::Args(format!("tls can't be used: {error}")))
}
