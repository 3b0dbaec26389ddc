//! Certificates of the test's own, files with them, and clients that trust and show them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use featherwire::config;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::{Gateway, program::Folder};

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = params("the test's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for servers on this machine.
    pub fn server(&self, common_name: &str) -> Pair {
        self.server_until(common_name, Duration::from_secs(1000 * DAY_SECONDS))
    }

    /// The same, which ends after this time, counted from two days ago.
    pub fn server_until(&self, common_name: &str, valid: Duration) -> Pair {
        let two_days_ago = SystemTime::now() - Duration::from_secs(2 * DAY_SECONDS);
        self.server_from(common_name, two_days_ago, valid)
    }

    /// The same, which begins at this time.
    pub fn server_from(&self, common_name: &str, begin: SystemTime, valid: Duration) -> Pair {
        let mut params = params(common_name);
        let since_epoch = begin.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        params.not_before = date_time_ymd(1970, 1, 1) + since_epoch;
        params.not_after = params.not_before + valid;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let address = "127.0.0.1".parse().unwrap();
        params.subject_alt_names = vec![
            SanType::IpAddress(address),
            SanType::DnsName("localhost".try_into().unwrap()),
        ];
        self.sign(&params)
    }

    /// A certificate for a caller.
    pub fn caller(&self, common_name: &str, names: Vec<SanType>) -> Pair {
        let mut params = params(common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = names;
        self.sign(&params)
    }

    /// The same, which ends at this time.
    pub fn caller_until(&self, common_name: &str, end: SystemTime) -> Pair {
        let mut params = params(common_name);
        let since_epoch = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + since_epoch;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    /// A certificate with the name of an authority, which may sign only lists of revoked ones.
    pub fn signer_of_lists(&self, common_name: &str) -> Pair {
        let mut params = params(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
        self.sign(&params)
    }

    /// Signs with the key of a certificate, as an authority does.
    pub fn with_the_key_of(common_name: &str, pair: &Pair) -> Self {
        let key = KeyPair::from_pem(&pair.key).unwrap();
        Self {
            issuer: Issuer::new(params(common_name), key),
            pem: pair.cert.clone(),
        }
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair {
            cert,
            key: key.serialize_pem(),
        }
    }

    /// A caller who trusts this authority and shows no certificate.
    pub fn trusted(&self) -> Credentials {
        Credentials {
            authority: self.pem.clone(),
            pair: None,
        }
    }
}

pub const DAY_SECONDS: u64 = 24 * 60 * 60;

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

/// A SPIFFE id.
pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// What a client trusts and shows.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub authority: String,
    pub pair: Option<Pair>,
}

impl Credentials {
    pub fn with(mut self, pair: &Pair) -> Self {
        self.pair = Some(pair.clone());
        self
    }

    /// An HTTP/1.1 client.
    pub fn http(&self) -> reqwest::Client {
        reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(self.rustls(&["http/1.1"]))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap()
    }

    pub fn tonic(&self) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority));
        match &self.pair {
            Some(pair) => config.identity(Identity::from_pem(&pair.cert, &pair.key)),
            None => config,
        }
    }

    /// The same with rustls, which offers these protocols.
    pub fn rustls(&self, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let provider = rustls::crypto::ring::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.pair {
            Some(pair) => {
                let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![cert], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        config
    }

    /// A connection after its handshake.
    pub async fn connect(
        &self,
        gateway: &Gateway,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(self.rustls(protocols)))
            .connect(name, stream)
            .await
    }
}

/// Files with certificates.
pub struct Files(Folder);

impl Files {
    /// Files with this pair: `tls.crt` and `tls.key`.
    pub fn of(pair: &Pair) -> Self {
        let files = Self(Folder::new());
        files.write_pair(pair);
        files
    }

    pub fn folder(&self) -> &Path {
        &self.0.0
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        #[cfg(unix)]
        if name.ends_with(".key") {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }

    pub fn write_pair(&self, pair: &Pair) {
        self.write("tls.crt", &pair.cert);
        self.write("tls.key", &pair.key);
    }

    /// The options for the pair.
    pub fn options(&self) -> config::Tls {
        config::Tls {
            tls_cert: Some(self.path("tls.crt")),
            tls_key: Some(self.path("tls.key")),
            ..config::Tls::default()
        }
    }

    /// The same, with an authority of callers.
    pub fn options_with_client_ca(&self, authority: &Authority) -> config::Tls {
        config::Tls {
            tls_client_ca: Some(self.write("client-ca.crt", &authority.pem)),
            ..self.options()
        }
    }
}
