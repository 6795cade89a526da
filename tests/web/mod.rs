//! The web side over real sockets: TLS, passwords, reloads, floods; and node_exporter as the oracle for
//! web.config.yml.

mod answers;
mod authority;
mod client;
mod documented;
mod floods;
mod oracle;
mod refusals;
mod reload;
mod server;
