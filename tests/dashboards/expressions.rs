//! Expressions, taken apart: Grafana's variables put in, and the selectors, calls and factors in them.

use std::time::Duration;

use promql_parser::parser::token::T_MUL;
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};

/// What `$__rate_interval` stands for in these tests, and nothing else.
pub const RATE_INTERVAL: Duration = Duration::from_secs(4);
/// What `$__range` stands for.
pub const RANGE: Duration = Duration::from_secs(120);

/// The expression with durations in place of Grafana's two; the other variables are within strings, where they parse.
pub fn with_durations(expr: &str) -> String {
    let seconds = |duration: Duration| format!("{}s", duration.as_secs());
    expr.replace("$__rate_interval", &seconds(RATE_INTERVAL)).replace("$__range", &seconds(RANGE))
}

/// The expression as Grafana sends it with everything chosen: each variable's `allValue`.
pub fn with_all_chosen(expr: &str) -> String {
    let chosen = |expr: String, name: &str| expr.replace(&format!("\"${name}\""), "\".+\"");
    ["job", "instance", "group"].into_iter().fold(with_durations(expr), chosen)
}

/// What an expression consists of.
#[derive(Default)]
pub struct Parts {
    /// Every selector, those of ranges among them.
    pub selectors: Vec<VectorSelector>,
    /// Every range with the function that it is given to.
    pub ranges: Vec<(&'static str, Duration, VectorSelector)>,
    /// Numbers that a selector is multiplied by.
    pub factors: Vec<(f64, VectorSelector)>,
}

/// Panics where it does not parse.
pub fn parts(place: &str, expr: &str) -> Parts {
    let tree = parser::parse(&with_durations(expr)).unwrap_or_else(|why| panic!("{place}: {why}: {expr}"));
    let mut parts = Parts::default();
    walk_expr(&mut parts, &tree).unwrap();
    assert!(!parts.selectors.is_empty(), "{place}: it asks for nothing");
    parts
}

impl ExprVisitor for Parts {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        match expr {
            Expr::VectorSelector(selector) => self.selectors.push(selector.clone()),
            Expr::MatrixSelector(range) => self.selectors.push(range.vs.clone()),
            Expr::Call(call) => {
                if let Some(Expr::MatrixSelector(range)) = call.args.first().as_deref() {
                    self.ranges.push((call.func.name, range.range, range.vs.clone()));
                }
            }
            Expr::Binary(binary) if binary.op.id() == T_MUL => {
                if let (Expr::NumberLiteral(number), Expr::VectorSelector(selector)) = (&*binary.lhs, &*binary.rhs) {
                    self.factors.push((number.val, selector.clone()));
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

/// The metric that a selector names.
pub fn name(selector: &VectorSelector) -> &str {
    selector.name.as_deref().expect("a selector names its metric")
}

/// The label's matcher, as `=~VALUE` and the like; empty where there is none.
pub fn matcher(selector: &VectorSelector, label: &str) -> String {
    let found = selector.matchers.matchers.iter().find(|matcher| matcher.name == label);
    found.map(|matcher| format!("{}{}", matcher.op, matcher.value)).unwrap_or_default()
}
