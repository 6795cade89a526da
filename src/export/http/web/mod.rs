//! Who may ask over HTTP, and how: TLS, client certificates, passwords and headers, from a file in
//! the format of Prometheus' exporter-toolkit. It answers nothing itself.

mod client_certificate;
mod file;
mod gate;
mod passwords;
mod policy;
mod problem;
mod stamp;
mod tls;

pub use gate::Gate;
pub use passwords::Admission;
pub use policy::Policy;
pub use problem::Problem;
