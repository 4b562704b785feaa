//! Middleboxes as plans and experiments name them: a stateful firewall or a NAT, its limits, what it
//! does when a limit is reached, and the documented limits of real products.
//!
//! What a middlebox makes of packets is the wire's business.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::units::{format_duration, human, parse_duration};

/// What a NAT's outside is addressed by: like the proxy's, of the third documentation range
/// (RFC 5737), so that it is none of the hosts' own.
pub const NAT_ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);

/// How long an established connection must at least be remembered, in microseconds: 2 h 4 min, which
/// is more than keep-alive's default idle time of 2 h (RFC 5382, section 5, REQ-5).
pub const LEAST_ESTABLISHED_US: u64 = 7_440_000_000;

/// How long a connection that opens or closes must at least be remembered, in microseconds: 4 min
/// (RFC 5382, section 5, REQ-5).
pub const LEAST_TRANSITORY_US: u64 = 240_000_000;

/// The longest limit that a plan may have, in microseconds: ten days.
pub const MAX_LIMIT_US: u64 = 864_000_000_000;

/// A middlebox on a run's first link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Middlebox {
    /// What it is.
    pub kind: Kind,
    /// How long it remembers an established connection without packets, in microseconds.
    pub idle_us: u64,
    /// How long it remembers one that opens or closes, in microseconds.
    pub transitory_us: u64,
    /// What happens when it forgets a connection.
    pub expiry: Expiry,
    /// Where on the link it stands: 0 at the client's end, 1 at the other.
    pub place: f64,
}

/// What a middlebox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Kind {
    /// A stateful firewall: it lets in what belongs to a connection that was opened from inside.
    Firewall,
    /// A NAT: it also hides the inside behind an address and ports of its own.
    Nat,
}

impl Kind {
    /// Its name in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firewall => "firewall",
            Self::Nat => "nat",
        }
    }
}

/// What happens when a connection's limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Expiry {
    /// Nothing, then or later: packets of a forgotten connection disappear.
    Silence,
    /// Nothing at first; whoever then goes on sending is told with an RST.
    RstOnNextPacket,
    /// Either end gets a FIN in the other's name, and the box sees the closing through.
    FinToBoth,
    /// Either end gets an RST in the other's name.
    RstToBoth,
}

impl Expiry {
    /// Every style.
    pub const ALL: [Self; 4] = [
        Self::Silence,
        Self::RstOnNextPacket,
        Self::FinToBoth,
        Self::RstToBoth,
    ];

    /// Its name everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::RstOnNextPacket => "rst-on-next-packet",
            Self::FinToBoth => "fin-to-both",
            Self::RstToBoth => "rst-to-both",
        }
    }
}

/// A text that names no style of expiry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no style of expiry: silence, rst-on-next-packet, fin-to-both or rst-to-both")]
pub struct UnknownExpiry(String);

impl FromStr for Expiry {
    type Err = UnknownExpiry;

    fn from_str(name: &str) -> Result<Self, UnknownExpiry> {
        Self::ALL
            .into_iter()
            .find(|style| style.as_str() == name)
            .ok_or_else(|| UnknownExpiry(name.to_owned()))
    }
}

/// A value of a plan that is out of its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the middlebox's `{field}` is {value}; {bound}")]
pub struct PlanError {
    /// The field, as JSON names it.
    pub field: &'static str,
    /// What it must be.
    pub bound: String,
    /// What it is.
    pub value: String,
}

impl Middlebox {
    /// A box that forgets silently, half-way on its link. What opens or closes is remembered as
    /// long as what is established, but no longer than RFC 5382 demands.
    pub fn new(kind: Kind, idle_us: u64) -> Self {
        Self {
            kind,
            idle_us,
            transitory_us: idle_us.min(LEAST_TRANSITORY_US),
            expiry: Expiry::Silence,
            place: 0.5,
        }
    }

    /// The same with another style of expiry.
    #[must_use]
    pub fn expiring(self, expiry: Expiry) -> Self {
        Self { expiry, ..self }
    }

    /// Holds every value against its bounds.
    ///
    /// # Errors
    /// [`PlanError`] names the first field that is out of its bounds, the bound and the value.
    pub fn check(&self) -> Result<(), PlanError> {
        for (field, value) in [
            ("idle_us", self.idle_us),
            ("transitory_us", self.transitory_us),
        ] {
            if !(1_000..=MAX_LIMIT_US).contains(&value) {
                return Err(PlanError {
                    field,
                    bound: format!("it must be from 1000 (1 ms) to {MAX_LIMIT_US} (ten days)"),
                    value: value.to_string(),
                });
            }
        }
        if !(0.0..=1.0).contains(&self.place) {
            return Err(PlanError {
                field: "place",
                bound: "it must be from 0 to 1".to_owned(),
                value: self.place.to_string(),
            });
        }
        Ok(())
    }
}

/// A text that describes no middlebox.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DescriptionError {
    /// The first word is no kind and no preset.
    #[error(
        "`{0}` is no middlebox: write firewall or nat with idle=DURATION, or one of {presets}",
        presets = PRESETS.map(|preset| preset.id).join(", ")
    )]
    Unknown(String),
    /// A firewall or NAT of one's own needs its limit.
    #[error("a {0} needs its limit: {0},idle=5s")]
    NoLimit(&'static str),
    /// A part is not understood.
    #[error(
        "`{0}` is not understood: idle=DURATION, expiry=STYLE, place=0 to 1, or real for a preset's own times"
    )]
    Part(String),
    /// The style is none.
    #[error(transparent)]
    Expiry(#[from] UnknownExpiry),
    /// A value is out of its bounds.
    #[error(transparent)]
    Bound(#[from] PlanError),
}

impl FromStr for Middlebox {
    type Err = DescriptionError;

    /// Reads `firewall,idle=5s`, `nat,idle=5s,expiry=rst-to-both,place=0.2`, a preset such as
    /// `aws-nlb`, whose times are divided by its scale, or `aws-nlb,real`, whose times are its own.
    /// What is said after a preset goes before what the preset says.
    fn from_str(text: &str) -> Result<Self, DescriptionError> {
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let parts: Vec<&str> = parts.collect();
        let preset = Preset::find(name);
        let own = match name {
            "firewall" => Some(Kind::Firewall),
            "nat" => Some(Kind::Nat),
            _ => None,
        };
        let mut plan = match (preset, own) {
            (Some(preset), _) if parts.contains(&"real") => preset.real(),
            (Some(preset), _) => preset.scaled(),
            // Whoever names no limit is told below.
            (None, Some(kind)) => Self::new(kind, 0),
            (None, None) => return Err(DescriptionError::Unknown(name.to_owned())),
        };
        for part in parts {
            let wrong = || DescriptionError::Part(part.to_owned());
            match part.split_once('=') {
                None if part == "real" && preset.is_some() => {}
                Some(("idle", value)) => {
                    let idle_us = parse_duration(value).map_err(|_| wrong())?;
                    plan = Self {
                        place: plan.place,
                        ..Self::new(plan.kind, idle_us).expiring(plan.expiry)
                    };
                }
                Some(("expiry", value)) => plan.expiry = value.parse()?,
                Some(("place", value)) => plan.place = value.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        if plan.idle_us == 0 {
            return Err(DescriptionError::NoLimit(plan.kind.as_str()));
        }
        plan.check()?;
        Ok(plan)
    }
}

impl fmt::Display for Middlebox {
    /// One sentence for the record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Firewall => "A stateful firewall",
            Kind::Nat => "A NAT",
        };
        let then = match self.expiry {
            Expiry::Silence => "and then drops its packets without a word",
            Expiry::RstOnNextPacket => "and then answers its next packet with an RST",
            Expiry::FinToBoth => "and then sends a FIN to either end",
            Expiry::RstToBoth => "and then sends an RST to either end",
        };
        write!(
            f,
            "{what} on the way forgets an established connection after {} without a packet, {then}.",
            human(self.idle_us)
        )
    }
}

/// A documented limit of a real product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name as a parameter's value.
    pub id: &'static str,
    /// The product, as its makers call it.
    pub product: &'static str,
    /// What it is most like.
    pub kind: Kind,
    /// Its idle limit, in microseconds.
    pub idle_us: u64,
    /// What it does at its limit.
    pub expiry: Expiry,
    /// What a default run divides every time by, so that it takes seconds.
    pub scale: u32,
    /// What else is worth knowing.
    pub note: &'static str,
    /// Where that is documented or reported: title and address.
    pub sources: &'static [(&'static str, &'static str)],
}

const SECOND_US: u64 = 1_000_000;

/// The presets, those with the shortest limits first.
pub const PRESETS: [Preset; 9] = [
    Preset {
        id: "azure-load-balancer",
        product: "Azure Load Balancer",
        kind: Kind::Firewall,
        idle_us: 240 * SECOND_US,
        expiry: Expiry::Silence,
        scale: 80,
        note: "The limit may be raised; a TCP reset at the limit is an option.",
        sources: &[(
            "Load Balancer TCP Reset and Idle Timeout",
            "https://learn.microsoft.com/en-us/azure/load-balancer/load-balancer-tcp-reset",
        )],
    },
    Preset {
        id: "azure-load-balancer-reset",
        product: "Azure Load Balancer with TCP reset",
        kind: Kind::Firewall,
        idle_us: 240 * SECOND_US,
        expiry: Expiry::RstToBoth,
        scale: 80,
        note: "Both ends are told at once, and can connect again before they need to.",
        sources: &[(
            "Load Balancer TCP Reset and Idle Timeout",
            "https://learn.microsoft.com/en-us/azure/load-balancer/load-balancer-tcp-reset",
        )],
    },
    Preset {
        id: "aws-nlb",
        product: "AWS Network Load Balancer",
        kind: Kind::Firewall,
        idle_us: 350 * SECOND_US,
        expiry: Expiry::RstOnNextPacket,
        scale: 100,
        note: "The limit was fixed until 2024; since then it may be from 60 s to 6000 s.",
        sources: &[
            (
                "Introducing NLB TCP configurable idle timeout",
                "https://aws.amazon.com/blogs/networking-and-content-delivery/introducing-nlb-tcp-configurable-idle-timeout/",
            ),
            (
                "AWS Network Load Balancer now supports configurable TCP idle timeout",
                "https://aws.amazon.com/about-aws/whats-new/2024/09/aws-network-load-balancer-tcp-idle-timeout",
            ),
        ],
    },
    Preset {
        id: "aws-nat-gateway",
        product: "AWS NAT gateway",
        kind: Kind::Nat,
        idle_us: 350 * SECOND_US,
        expiry: Expiry::RstOnNextPacket,
        scale: 100,
        note: "The RST goes to the inside alone; the outside is not told.",
        sources: &[(
            "Troubleshoot NAT gateways",
            "https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html",
        )],
    },
    Preset {
        id: "gcp-firewall",
        product: "Google Cloud VPC firewall",
        kind: Kind::Firewall,
        idle_us: 600 * SECOND_US,
        expiry: Expiry::Silence,
        scale: 200,
        note: "Connection tracking needs a packet every 10 minutes.",
        sources: &[(
            "Troubleshooting Compute Engine",
            "https://cloud.google.com/compute/docs/troubleshooting",
        )],
    },
    Preset {
        id: "docker-swarm-vip",
        product: "Docker overlay network (IPVS)",
        kind: Kind::Firewall,
        idle_us: 900 * SECOND_US,
        expiry: Expiry::Silence,
        scale: 300,
        note: "Between services on different machines; on one machine an RST is reported.",
        sources: &[
            (
                "Idle connections over overlay network ends up in a broken state after 15 minutes",
                "https://github.com/moby/moby/issues/31208",
            ),
            (
                "IPVS connection timeouts",
                "https://github.com/docker/docs/issues/5519",
            ),
        ],
    },
    Preset {
        id: "kubernetes-ipvs",
        product: "Kubernetes service over IPVS",
        kind: Kind::Firewall,
        idle_us: 900 * SECOND_US,
        expiry: Expiry::RstOnNextPacket,
        scale: 300,
        note: "`ipvsadm -l --timeout` says 900 120 300: established, closing, UDP.",
        sources: &[
            (
                "TCP Connection reset after connection was idle for more that 15 minutes",
                "https://github.com/cloudnativelabs/kube-router/issues/521",
            ),
            (
                "ipvsadm(8)",
                "https://manpages.ubuntu.com/manpages/jammy/man8/ipvsadm.8.html",
            ),
        ],
    },
    Preset {
        id: "rfc-5382",
        product: "The least that RFC 5382 allows a NAT",
        kind: Kind::Nat,
        idle_us: LEAST_ESTABLISHED_US,
        expiry: Expiry::Silence,
        scale: 2_400,
        note: "Just more than keep-alive's default of 2 h, so that its probes come in time.",
        sources: &[(
            "RFC 5382: NAT Behavioral Requirements for TCP, section 5",
            "https://www.rfc-editor.org/rfc/rfc5382#section-5",
        )],
    },
    Preset {
        id: "linux-conntrack",
        product: "Linux nf_conntrack",
        kind: Kind::Firewall,
        idle_us: 432_000 * SECOND_US,
        expiry: Expiry::Silence,
        scale: 144_000,
        note: "nf_conntrack_tcp_timeout_established; five days.",
        sources: &[(
            "Netfilter Conntrack Sysfs variables",
            "https://docs.kernel.org/networking/nf_conntrack-sysctl.html",
        )],
    },
];

impl Preset {
    /// The preset of that name.
    pub fn find(id: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.id == id)
    }

    /// The box with its real limits.
    pub fn real(&self) -> Middlebox {
        Middlebox::new(self.kind, self.idle_us).expiring(self.expiry)
    }

    /// The box of a default run: its idle limit is divided by the scale.
    pub fn scaled(&self) -> Middlebox {
        Middlebox::new(self.kind, self.scaled_idle_us()).expiring(self.expiry)
    }

    /// The idle limit of a default run, in microseconds.
    pub fn scaled_idle_us(&self) -> u64 {
        self.idle_us / u64::from(self.scale)
    }

    /// The scale in words, such as `1 s stands for 100 s`.
    pub fn scale_in_words(&self) -> String {
        let stands_for = u64::from(self.scale) * SECOND_US;
        format!("1 s stands for {}", format_duration(stands_for))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_has_a_source_and_runs_within_seconds() {
        for preset in PRESETS {
            assert_eq!(Preset::find(preset.id), Some(&preset));
            preset.real().check().unwrap();
            preset.scaled().check().unwrap();
            let scaled = preset.scaled_idle_us();
            assert!((2_000_000..=5_000_000).contains(&scaled), "{}", preset.id);
            assert_eq!(scaled * u64::from(preset.scale), preset.idle_us);
            assert!(!preset.sources.is_empty());
            for (title, url) in preset.sources {
                assert!(!title.is_empty() && url.starts_with("https://"), "{url}");
            }
        }
        let names: std::collections::BTreeSet<_> = PRESETS.map(|preset| preset.id).into();
        assert_eq!(names.len(), PRESETS.len());
        assert_eq!(Preset::find("no such box"), None);
        assert_eq!(PRESETS[2].scale_in_words(), "1 s stands for 100s");
    }

    #[test]
    fn limits_are_held_and_named() {
        let good = Middlebox::new(Kind::Nat, 3_000_000);
        good.check().unwrap();
        let refused = |plan: Middlebox| plan.check().unwrap_err().to_string();
        assert_eq!(
            refused(Middlebox::new(Kind::Nat, 999)),
            "the middlebox's `idle_us` is 999; it must be from 1000 (1 ms) to 864000000000 (ten days)"
        );
        for place in [-0.1, 1.1, f64::NAN] {
            assert!(
                refused(Middlebox {
                    place,
                    ..good.clone()
                })
                .contains("`place` is")
            );
        }
        assert!(
            refused(Middlebox {
                transitory_us: 0,
                ..good
            })
            .contains("`transitory_us` is 0")
        );
    }

    #[test]
    fn styles_read_back_as_written() {
        for style in Expiry::ALL {
            assert_eq!(style.as_str().parse(), Ok(style));
            let json = serde_json::to_value(style).unwrap();
            assert_eq!(json, serde_json::json!(style.as_str()));
        }
        assert!("loudly".parse::<Expiry>().is_err());
    }

    #[test]
    fn a_box_is_read_from_a_line_of_text() {
        let read = |text: &str| text.parse::<Middlebox>();
        let own = Middlebox::new(Kind::Nat, 5_000_000).expiring(Expiry::RstToBoth);
        assert_eq!(
            read("nat, idle=5s, expiry=rst-to-both,place=0.2"),
            Ok(Middlebox { place: 0.2, ..own })
        );
        for preset in PRESETS {
            assert_eq!(read(preset.id), Ok(preset.scaled()));
            assert_eq!(read(&format!("{},real", preset.id)), Ok(preset.real()));
        }
        let sooner = read("aws-nlb,idle=2s").unwrap();
        assert_eq!(
            (sooner.idle_us, sooner.expiry),
            (2_000_000, Expiry::RstOnNextPacket)
        );
        for (text, named) in [
            ("", "`` is no middlebox"),
            ("fierwall,idle=1s", "`fierwall` is no middlebox"),
            ("firewall", "firewall,idle=5s"),
            ("firewall,real,idle=1s", "`real`"),
            ("firewall,idle", "`idle`"),
            ("nat,idle=soon", "`idle=soon`"),
            ("nat,idle=1us", "`idle_us` is 1;"),
            ("nat,idle=1s,expiry=loudly", "`loudly`"),
            ("nat,idle=1s,place=2", "`place` is 2;"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_box_is_told_in_a_sentence() {
        let plan = Middlebox::new(Kind::Firewall, 3_000_000).expiring(Expiry::RstOnNextPacket);
        assert_eq!(
            plan.to_string(),
            "A stateful firewall on the way forgets an established connection after 3.000 s without \
             a packet, and then answers its next packet with an RST."
        );
    }
}
