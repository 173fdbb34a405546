//! `[mx]`: mail that comes from other servers.

use super::{
    Reader,
    tree::{Item, Section},
};
use crate::{Domain, MAX_TRUSTED_SEALERS, MxConfig};

impl Reader {
    pub(super) fn mx(&mut self, section: &Section<'_>) -> MxConfig {
        self.known(section, &["accept_own_unauthenticated", "trusted_sealers"]);
        let mut mx = MxConfig::default();
        self.set(section, "accept_own_unauthenticated", &mut mx.accept_own_unauthenticated, Self::boolean);
        self.set(section, "trusted_sealers", &mut mx.trusted_sealers, Self::sealers);
        mx
    }

    fn sealers(&mut self, item: &Item<'_>) -> Option<Vec<Domain>> {
        const REMEDY: &str = "write a list of domains such as [\"lists.example.net\"]";
        let mut sealers = Vec::new();
        for item in self.some_of(item, "domain", MAX_TRUSTED_SEALERS, REMEDY) {
            let Some(text) = self.string(&item) else { continue };
            match self.domain_name(&item, text, REMEDY) {
                Some(domain) if sealers.contains(&domain) => self.fail::<()>(&item, "is already named", "name each domain once"),
                Some(domain) => {
                    sealers.push(domain);
                    None
                }
                None => None,
            };
        }
        Some(sealers)
    }
}
