//! Certificates and keys, for both transports. rustls, TLS 1.2 and 1.3. Nothing here turns
//! verification off.

use std::{fmt, sync::Arc};

/// Whom to trust, and who we are. PEM, as configured.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// Trusted instead of the system's and the built-in roots.
    pub(crate) authority: Option<Arc<[u8]>>,
    /// For receivers that ask for one (mTLS).
    pub(crate) identity: Option<Identity>,
    /// Mozilla's roots are trusted beside the system's.
    #[cfg(feature = "tls-bundled-roots")]
    #[cfg_attr(not(any(feature = "http", feature = "grpc")), expect(dead_code, reason = "there are no connections"))]
    pub(crate) bundled_roots: bool,
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
    use {
        super::Tls,
        rustls::{RootCertStore, crypto::CryptoProvider},
        std::sync::Arc,
    };

    #[cfg(any(feature = "http", feature = "grpc"))]
    impl Tls {
        /// For connections by which `alpn` is spoken. Reads the system's certificates, which takes
        /// a while.
        ///
        /// # Errors
        /// What is wrong with certificates, or the machine, in words.
        pub(crate) fn client(&self, alpn: &'static str) -> Result<rustls::ClientConfig, String> {
            let builder = rustls::ClientConfig::builder_with_provider(provider()?)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(self.roots()?);
            let mut config = match &self.identity {
                Some(identity) => builder
                    .with_client_auth_cert(certificates(&identity.chain)?, private_key(&identity.key)?)
                    .map_err(|error| format!("the client certificate and key cannot be used: {error}"))?,
                None => builder.with_no_client_auth(),
            };
            config.alpn_protocols = vec![alpn.into()];
            Ok(config)
        }

        fn roots(&self) -> Result<RootCertStore, String> {
            let mut roots = RootCertStore::empty();
            if let Some(pem) = &self.authority {
                for certificate in certificates(pem)? {
                    roots.add(certificate).map_err(|error| format!("the CA certificate cannot be used: {error}"))?;
                }
                return Ok(roots);
            }
            // Some of a system's certificates may be odd; the others serve.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            #[cfg(feature = "tls-bundled-roots")]
            if self.bundled_roots {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            if roots.is_empty() {
                return Err("this system has no root certificates: install them (ca-certificates), let the program bring some (crumbtrail's feature \"tls-bundled-roots\" and Builder::with_bundled_roots), or name one by OTEL_EXPORTER_OTLP_CERTIFICATE".to_owned());
            }
            Ok(roots)
        }
    }

    /// The cryptography that the program has installed; else some of our own, which nobody but us
    /// uses. Never one of those that rustls has by features: features are those of all crates of a
    /// program, and with two of these on it panics in the host's clients, where it cannot tell
    /// which is meant.
    #[cfg(any(feature = "http", feature = "grpc"))]
    fn provider() -> Result<Arc<CryptoProvider>, String> {
        match CryptoProvider::get_default() {
            Some(provider) => Ok(provider.clone()),
            None => own().ok_or_else(|| "the cryptography that crumbtrail brings does not run on this processor: install a provider of rustls's when the program starts, as in rustls::crypto::ring::default_provider().install_default()".to_owned()),
        }
    }

    /// Graviola, which panics where the processor lacks what it needs.
    #[cfg(all(any(feature = "http", feature = "grpc"), target_arch = "x86_64"))]
    fn own() -> Option<Arc<CryptoProvider>> {
        use std::arch::is_x86_feature_detected as has;
        let runs = has!("aes") && has!("pclmulqdq") && has!("bmi1") && has!("bmi2") && has!("adx") && has!("avx") && has!("avx2");
        runs.then(|| Arc::new(rustls_graviola::default_provider()))
    }

    #[cfg(all(any(feature = "http", feature = "grpc"), target_arch = "aarch64"))]
    fn own() -> Option<Arc<CryptoProvider>> {
        use std::arch::is_aarch64_feature_detected as has;
        let runs = has!("neon") && has!("aes") && has!("pmull") && has!("sha2");
        runs.then(|| Arc::new(rustls_graviola::default_provider()))
    }

    #[cfg(all(any(feature = "http", feature = "grpc"), not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    fn own() -> Option<Arc<CryptoProvider>> {
        None
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

    /// The feature alone changes nobody's trust.
    #[cfg(all(test, feature = "tls-bundled-roots", any(feature = "http", feature = "grpc")))]
    #[test]
    fn bundled_roots_are_trusted_where_they_are_asked_for() {
        let trusted = |bundled_roots| Tls { bundled_roots, ..Tls::default() }.roots().map_or(0, |roots| roots.len());
        assert_eq!(trusted(true), trusted(false) + webpki_roots::TLS_SERVER_ROOTS.len());
    }
}
