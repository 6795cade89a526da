//! Many loads in few words: `outputs of 32 tokens and more, prompts up to 256 tokens`. It covers the loads that are
//! meant with boxes of the grid that hold none of the others.

use std::collections::BTreeSet;

use super::analysis::Load;
use crate::text::figures::plural;

/// Most boxes that are named; the rest is counted.
const NAMED: usize = 3;

/// A part of the grid: positions on each axis (output, prompt, concurrency), from and to.
type Block = [(usize, usize); 3];

/// The values that the grid has on each axis, in order.
struct Grid([Vec<u32>; 3]);

/// The loads of `meant` as distinct from `others`. `None`: there are no others, so they need no words.
pub(super) fn named(meant: &[Load], others: &[Load]) -> Option<String> {
    if others.is_empty() || meant.is_empty() {
        return None;
    }
    let all: Vec<Load> = meant.iter().chain(others).copied().collect();
    let grid = Grid([0, 1, 2].map(|axis| {
        let values: BTreeSet<u32> = all.iter().map(|load| values(load)[axis]).collect();
        values.into_iter().collect()
    }));
    let (blocks, left) = cover(&grid.places(meant), &grid.places(others));
    let mut words: Vec<String> = blocks.iter().map(|block| grid.words(block)).collect();
    if left > 0 {
        words.push(plural(left, "other load"));
    }
    Some(words.join("; "))
}

fn values(load: &Load) -> [u32; 3] {
    [load.output, load.prompt, load.concurrency]
}

/// Covers `meant` by at most [`NAMED`] blocks, the largest first; and how many they leave.
fn cover(meant: &[[usize; 3]], others: &[[usize; 3]]) -> (Vec<Block>, usize) {
    let mut left = meant.to_vec();
    let mut blocks = Vec::new();
    while blocks.len() < NAMED {
        let covers = |block: &Block| left.iter().filter(|at| holds(block, at)).count();
        let Some(best) = left.iter().map(|at| grown(*at, meant, others)).max_by_key(covers) else { break };
        left.retain(|at| !holds(&best, at));
        blocks.push(best);
    }
    (blocks, left.len())
}

/// The orders in which a block tries the axes.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// The block around a place that covers most and holds none of the others.
fn grown(at: [usize; 3], meant: &[[usize; 3]], others: &[[usize; 3]]) -> Block {
    let start = at.map(|place| (place, place));
    let covers = |block: &Block| meant.iter().filter(|place| holds(block, place)).count();
    let grow = |order: &[usize; 3]| order.iter().fold(start, |block, axis| stretched(block, *axis, meant, others));
    ORDERS.iter().map(grow).max_by_key(covers).unwrap_or(start)
}

/// The block stretched as far along one axis as the grid goes and none of the others is in it.
fn stretched(mut block: Block, axis: usize, meant: &[[usize; 3]], others: &[[usize; 3]]) -> Block {
    let last = meant.iter().chain(others).map(|place| place[axis]).max().unwrap_or(0);
    let pure = |block: &Block| !others.iter().any(|place| holds(block, place));
    while block[axis].1 < last {
        let mut wider = block;
        wider[axis].1 += 1;
        if !pure(&wider) {
            break;
        }
        block = wider;
    }
    while block[axis].0 > 0 {
        let mut wider = block;
        wider[axis].0 -= 1;
        if !pure(&wider) {
            break;
        }
        block = wider;
    }
    block
}

fn holds(block: &Block, place: &[usize; 3]) -> bool {
    block.iter().zip(place).all(|((from, to), at)| (from..=to).contains(&at))
}

impl Grid {
    fn places(&self, loads: &[Load]) -> Vec<[usize; 3]> {
        let place = |load: &Load| {
            let at = values(load);
            [0, 1, 2].map(|axis| self.0[axis].partition_point(|value| *value < at[axis]))
        };
        loads.iter().map(place).collect()
    }

    fn words(&self, block: &Block) -> String {
        let names = ["outputs", "prompts", ""];
        let words = (0..3).filter_map(|axis| {
            let values = &self.0[axis];
            let (from, to) = block[axis];
            let (whole, range) = (from == 0 && to + 1 == values.len(), (values[from], values[to]));
            match (whole, axis, range) {
                (true, ..) => None,
                (_, 0, (1, 1)) => Some("prefill only".to_owned()),
                (_, 2, _) => Some(concurrency(from, to, values)),
                _ => Some(tokens(names[axis], from, to, values)),
            }
        });
        let words: Vec<_> = words.collect();
        if words.is_empty() { "all other loads".to_owned() } else { words.join(", ") }
    }
}

fn tokens(name: &str, from: usize, to: usize, values: &[u32]) -> String {
    match (values[from], values[to]) {
        (1, 1) => format!("{name} of 1 token"),
        (low, high) if low == high => format!("{name} of {low} tokens"),
        (low, _) if to + 1 == values.len() => format!("{name} of {low} tokens and more"),
        (_, high) if from == 0 => format!("{name} of up to {high} tokens"),
        (low, high) => format!("{name} of {low} to {high} tokens"),
    }
}

fn concurrency(from: usize, to: usize, values: &[u32]) -> String {
    match (values[from], values[to]) {
        (1, 1) => "1 request in flight".to_owned(),
        (low, high) if low == high => format!("{low} requests in flight"),
        (low, _) if to + 1 == values.len() => format!("{low} requests in flight and more"),
        (_, high) if from == 0 => format!("up to {high} requests in flight"),
        (low, high) => format!("{low} to {high} requests in flight"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn grid() -> impl Iterator<Item = Load> {
        let one = |(output, prompt, concurrency)| Load { output, prompt, concurrency };
        let pairs = [1, 32, 128].into_iter().flat_map(|output| [16, 256, 1024].map(|prompt| (output, prompt)));
        pairs.flat_map(move |(output, prompt)| [1, 4, 16].map(|concurrency| one((output, prompt, concurrency))))
    }

    fn of(meant: impl Fn(&Load) -> bool) -> String {
        let (meant, others): (Vec<_>, Vec<_>) = grid().partition(meant);
        named(&meant, &others).unwrap()
    }

    #[test]
    fn a_threshold_is_told_as_one() {
        assert_eq!(of(|load| load.output >= 32), "outputs of 32 tokens and more");
        assert_eq!(of(|load| load.output == 1), "prefill only");
        assert_eq!(of(|load| load.prompt < 1000), "prompts of up to 256 tokens");
        assert_eq!(of(|load| load.concurrency == 4), "4 requests in flight");
        assert_eq!(of(|load| load.prompt == 1024 && load.output == 1), "prefill only, prompts of 1024 tokens");
    }

    #[test]
    fn what_no_box_holds_is_told_in_several_and_what_is_left_is_counted() {
        let either = of(|load| load.output == 128 || load.concurrency == 1);
        assert_eq!(either, "outputs of 128 tokens; 1 request in flight");
        let scattered = of(|load| (load.output + load.prompt / 16 + load.concurrency) % 2 == 0);
        assert!(scattered.contains("other load"), "{scattered}");
    }

    #[test]
    fn all_loads_need_no_words() {
        assert_eq!(named(&grid().collect::<Vec<_>>(), &[]), None);
        assert_eq!(named(&[], &grid().collect::<Vec<_>>()), None);
    }
}
