//! The name of the node, for people: what an address in an alert does not say.

use std::sync::OnceLock;

/// How Kubernetes tells a pod the node that it is on, where its manifest asks for it.
const VARIABLE: &str = "NODE_NAME";

/// The node's name: `NODE_NAME` of the environment, where a pod has another host name than its node, else the host's
/// own. Empty: it has none.
pub fn node_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let told = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
        told.or_else(host_name).unwrap_or_default()
    })
}

fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_name_and_keeps_it() {
        assert!(host_name().is_some_and(|name| !name.is_empty()));
        assert_eq!(node_name(), node_name());
    }
}
