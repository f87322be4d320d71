//! Certificates and keys, for both transports. rustls, TLS 1.2 and 1.3. Nothing here turns verification off.

use std::{fmt, sync::Arc};

/// Whom to trust, and who we are. PEM, as configured.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// Trusted instead of the system's and the built-in roots.
    pub(crate) authority: Option<Arc<[u8]>>,
    /// For receivers that ask for one (mTLS).
    pub(crate) identity: Option<Identity>,
}

/// A certificate chain and its key.
#[derive(Clone)]
#[cfg_attr(not(all(feature = "tls", any(feature = "http", feature = "grpc"))), expect(dead_code, reason = "there is no TLS"))]
pub(crate) struct Identity {
    pub(crate) chain: Arc<[u8]>,
    pub(crate) key: Arc<[u8]>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = |given: bool| if given { "given" } else { "none" };
        f.debug_struct("Tls")
            .field("authority", &given(self.authority.is_some()))
            .field("identity", &given(self.identity.is_some()))
            .finish()
    }
}

/// What is wrong with certificates in PEM, if anything. Never a part of them.
pub(crate) fn check_certificates(pem: &[u8]) -> Result<(), String> {
    #[cfg(feature = "tls")]
    return rustls_impl::certificates(pem).map(drop);
    #[cfg(not(feature = "tls"))]
    unavailable(pem)
}

/// What is wrong with a private key in PEM, if anything. Never a part of it.
pub(crate) fn check_key(pem: &[u8]) -> Result<(), String> {
    #[cfg(feature = "tls")]
    return rustls_impl::private_key(pem).map(drop);
    #[cfg(not(feature = "tls"))]
    unavailable(pem)
}

#[cfg(not(feature = "tls"))]
fn unavailable(_: &[u8]) -> Result<(), String> {
    Err("that needs crumbtrail's feature \"tls\"".to_owned())
}

#[cfg(feature = "tls")]
mod rustls_impl {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

    #[cfg(any(feature = "http", feature = "grpc"))]
    use super::Tls;

    #[cfg(any(feature = "http", feature = "grpc"))]
    impl Tls {
        /// For HTTP. Where TLS is not `needed` nobody is trusted, and no certificates are read: the system's take a while.
        #[cfg(feature = "http")]
        pub(crate) fn client(&self, needed: bool) -> Result<rustls::ClientConfig, String> {
            use rustls::{
                ClientConfig, RootCertStore,
                crypto::{CryptoProvider, aws_lc_rs},
            };
            let mut roots = RootCertStore::empty();
            match &self.authority {
                Some(pem) => {
                    for certificate in certificates(pem)? {
                        roots.add(certificate).map_err(|error| format!("the CA certificate cannot be used: {error}"))?;
                    }
                }
                None if !needed => {}
                None => {
                    // Some of a system's certificates may be odd; the others serve.
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                    #[cfg(feature = "tls-bundled-roots")]
                    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                }
            }
            let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| std::sync::Arc::new(aws_lc_rs::default_provider()));
            let builder = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots);
            match &self.identity {
                Some(identity) => builder
                    .with_client_auth_cert(certificates(&identity.chain)?, private_key(&identity.key)?)
                    .map_err(|error| format!("the client certificate and key cannot be used: {error}")),
                None => Ok(builder.with_no_client_auth()),
            }
        }

        /// For gRPC.
        #[cfg(feature = "grpc")]
        pub(crate) fn channel(&self) -> tonic::transport::ClientTlsConfig {
            use tonic::transport::{Certificate, ClientTlsConfig};
            let mut config = match &self.authority {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_enabled_roots(),
            };
            if let Some(identity) = &self.identity {
                config = config.identity(tonic::transport::Identity::from_pem(&identity.chain, &identity.key));
            }
            config
        }
    }

    pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match found {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err("there is no certificate in it (PEM)".to_owned()),
            Err(_) => Err("it is not valid PEM".to_owned()),
        }
    }

    pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(pem).map_err(|_| "there is no private key in it (PEM: PKCS#8, PKCS#1 or SEC1)".to_owned())
    }
}
