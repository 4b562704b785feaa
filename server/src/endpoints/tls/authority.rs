//! A certificate authority of the run's own: made when it is asked for, gone with the run.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::lab::LabError;

/// How long a certificate is valid. Certificates count in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From now on; a day before now by default, so that no clock is too slow for it.
    pub begins_before_now: Duration,
    /// Until so long after now.
    pub ends_after_now: Duration,
}

impl Default for Validity {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            begins_before_now: day,
            ends_after_now: 30 * day,
        }
    }
}

/// Whom clients of the run trust.
#[derive(Clone)]
pub struct Authority {
    issuer: Arc<Issuer<'static, KeyPair>>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// An authority that nobody has trusted before.
    ///
    /// # Errors
    /// [`LabError`] where no key can be made.
    pub fn new() -> Result<Self, LabError> {
        let make = || {
            let key = KeyPair::generate()?;
            let mut params = params("Linger's authority of one run", Validity::default());
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let certificate = params.self_signed(&key)?.der().clone();
            Ok(Self {
                issuer: Arc::new(Issuer::new(params, key)),
                certificate,
            })
        };
        make().map_err(|error| unmade("an authority", &error))
    }

    /// Its own certificate, for clients that are no part of Linger.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What a client that trusts it, and nobody else, trusts.
    pub(super) fn roots(&self) -> Result<RootCertStore, LabError> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.clone())
            .map_err(|error| LabError::Unmet(format!("the run's authority is refused: {error}")))?;
        Ok(roots)
    }

    /// A certificate for a name and an address, with its key.
    ///
    /// # Errors
    /// [`LabError`] where the name is none, or no key can be made.
    pub fn issue(
        &self,
        name: &str,
        address: IpAddr,
        validity: Validity,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), LabError> {
        let make = || {
            let key = KeyPair::generate()?;
            let mut params = params(name, validity);
            params.subject_alt_names = vec![
                SanType::DnsName(name.try_into()?),
                SanType::IpAddress(address),
            ];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            let certificate = params.signed_by(&key, &*self.issuer)?;
            let key = PrivatePkcs8KeyDer::from(key.serialize_der());
            Ok((vec![certificate.der().clone()], key.into()))
        };
        make().map_err(|error| unmade(&format!("a certificate for `{name}`"), &error))
    }
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - validity.begins_before_now).into();
    params.not_after = (now + validity.ends_after_now).into();
    params
}

fn unmade(what: &str, error: &rcgen::Error) -> LabError {
    LabError::Unmet(format!("{what} cannot be made: {error}"))
}
