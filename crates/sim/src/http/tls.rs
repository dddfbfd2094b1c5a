//! The made-up cluster's own CA, and a certificate of each node signed by it, as PVE makes them.

use std::sync::Arc;

use anyhow::Context as _;
use engine::observe::NodeName;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// The cluster's CA. Its key lives as long as the server and is stored nowhere.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A node's certificate.
pub(super) struct NodeCertificate {
    pub(super) config: Arc<rustls::ServerConfig>,
    /// SHA-256 as PVE prints it: `AB:CD:...`.
    pub(super) fingerprint: String,
}

impl Authority {
    pub(super) fn new(cluster: &str) -> anyhow::Result<Authority> {
        let mut params = CertificateParams::new(Vec::new()).context("parameters of the CA")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Proxmox Virtual Environment");
        params.distinguished_name.push(DnType::OrganizationName, format!("simulated cluster {cluster}"));
        let key = KeyPair::generate().context("key of the CA")?;
        let issuer = CertifiedIssuer::self_signed(params, key).context("certificate of the CA")?;
        Ok(Authority { issuer })
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Valid for the node's name, `localhost` and 127.0.0.1.
    pub(super) fn certify(&self, node: &NodeName) -> anyhow::Result<NodeCertificate> {
        let names = vec!["127.0.0.1".into(), "::1".into(), "localhost".into(), node.to_string()];
        let mut params = CertificateParams::new(names).context("parameters of a node's certificate")?;
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        let key = KeyPair::generate().context("key of a node")?;
        let leaf = params.signed_by(&key, &self.issuer).context("certificate of a node")?;
        let fingerprint = fingerprint(leaf.der());
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|reason| anyhow::anyhow!("the key of node {node} cannot be used: {reason}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS versions")?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .context("TLS certificate")?;
        Ok(NodeCertificate { config: Arc::new(config), fingerprint })
    }
}

fn fingerprint(certificate: &CertificateDer) -> String {
    let digest = Sha256::digest(certificate.as_ref());
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
