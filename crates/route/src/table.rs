//! Many patterns, and the values of those that a subject matches.
//!
//! A trie over tokens. Its edges of all nodes lie in one hash map keyed by (node, token), because most nodes have one or two
//! children and few have thousands; `*` and `>` are fields of the node. A lookup goes down the literal edge and the `*` edge of
//! each node it reaches, and no node is reached twice, so it costs at most the nodes of the table, and
//! for a subject of `t` tokens without wildcards on its way `t` probes: about 10 ns each.

use trunkline_wire::subject::Subject;

use crate::pattern::{ANY, Pattern, REST};

/// Values under patterns. The same pattern can have many.
#[derive(Clone, Debug)]
pub struct Table<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    edges: Edges,
    len: usize,
}

impl<T> Table<T> {
    /// An empty table.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// An empty table whose hashes depend on `seed`: where strangers choose the patterns, take a random one, so that
    /// they cannot choose patterns that collide.
    pub fn with_seed(seed: u64) -> Self {
        Self {
            nodes: vec![Node::new(0, 0)],
            free: Vec::new(),
            edges: Edges::new(seed),
            len: 0,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a value under a pattern.
    pub fn insert(&mut self, pattern: &Pattern, value: T) {
        let mut node = ROOT;
        for token in pattern.as_str().split('.') {
            node = match token {
                REST => {
                    self.len += 1;
                    return self.nodes[node as usize].rest.push(value);
                }
                ANY => match self.nodes[node as usize].any {
                    NONE => {
                        let child = self.add_node(node, 0);
                        self.nodes[node as usize].any = child;
                        child
                    }
                    child => child,
                },
                token => {
                    let hash = self.edges.hash(token.as_bytes());
                    match self.edges.child(node, hash, token.as_bytes()) {
                        NONE => {
                            let child = self.add_node(node, hash);
                            self.edges.insert(node, hash, token, child);
                            self.nodes[node as usize].literals += 1;
                            child
                        }
                        child => child,
                    }
                }
            };
        }
        self.len += 1;
        self.nodes[node as usize].values.push(value);
    }

    /// Takes out the values under exactly this pattern for which `remove` says so, and returns how many those were.
    pub fn remove(&mut self, pattern: &Pattern, mut remove: impl FnMut(&T) -> bool) -> usize {
        let mut node = ROOT;
        let mut rest = false;
        for token in pattern.as_str().split('.') {
            node = match token {
                REST => {
                    rest = true;
                    break;
                }
                ANY => self.nodes[node as usize].any,
                token => {
                    self.edges
                        .child(node, self.edges.hash(token.as_bytes()), token.as_bytes())
                }
            };
            if node == NONE {
                return 0;
            }
        }
        let here = &mut self.nodes[node as usize];
        let values = if rest {
            &mut here.rest
        } else {
            &mut here.values
        };
        let before = values.len();
        values.retain(|value| !remove(value));
        let removed = before - values.len();
        self.len -= removed;
        self.prune(node);
        removed
    }

    /// Calls `found` with each value whose pattern matches the subject, in no particular order. Allocates nothing.
    #[inline]
    pub fn each<'t>(&'t self, subject: Subject<'_>, mut found: impl FnMut(&'t T)) {
        self.walk(ROOT, subject.as_str().as_bytes(), &mut |values| {
            values.iter().for_each(&mut found)
        });
    }

    /// A value whose pattern matches the subject.
    #[inline]
    pub fn first(&self, subject: Subject<'_>) -> Option<&T> {
        let mut first = None;
        self.each(subject, |value| first = first.or(Some(value)));
        first
    }

    /// Goes down from `node` with what is left of the subject; `rest` is not empty.
    fn walk<'t>(&'t self, mut node: u32, mut rest: &[u8], found: &mut impl FnMut(&'t [T])) {
        loop {
            let here = &self.nodes[node as usize];
            if !here.rest.is_empty() {
                found(&here.rest);
            }
            if here.literals == 0 && here.any == NONE {
                return;
            }
            let (token, behind) = split(rest);
            let literal = match here.literals {
                0 => NONE,
                _ => self.edges.child(node, self.edges.hash(token), token),
            };
            let Some(behind) = behind else {
                for child in [literal, here.any] {
                    if child != NONE && !self.nodes[child as usize].values.is_empty() {
                        found(&self.nodes[child as usize].values);
                    }
                }
                return;
            };
            rest = behind;
            node = match (literal, here.any) {
                (NONE, NONE) => return,
                (only, NONE) | (NONE, only) => only,
                (literal, any) => {
                    // At most as deep as a subject has tokens: 128.
                    self.walk(literal, rest, found);
                    any
                }
            };
        }
    }

    fn add_node(&mut self, parent: u32, hash: u32) -> u32 {
        let node = Node::new(parent, hash);
        match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }

    /// Takes out `node` if it holds nothing, and its parents likewise.
    fn prune(&mut self, mut node: u32) {
        while node != ROOT && self.nodes[node as usize].is_bare() {
            let Node { parent, hash, .. } = self.nodes[node as usize];
            if self.nodes[parent as usize].any == node {
                self.nodes[parent as usize].any = NONE;
            } else {
                self.edges.remove(parent, hash, node);
                self.nodes[parent as usize].literals -= 1;
            }
            self.free.push(node);
            node = parent;
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Debug)]
struct Node<T> {
    /// Values of patterns that end here.
    values: Vec<T>,
    /// Values of patterns that go on with `>`.
    rest: Vec<T>,
    /// Where `*` leads.
    any: u32,
    /// How many literal edges go out.
    literals: u32,
    /// Where it hangs, and the hash of the edge to it, so that it can be taken out.
    parent: u32,
    hash: u32,
}

impl<T> Node<T> {
    fn new(parent: u32, hash: u32) -> Self {
        Self {
            values: Vec::new(),
            rest: Vec::new(),
            any: NONE,
            literals: 0,
            parent,
            hash,
        }
    }

    fn is_bare(&self) -> bool {
        self.values.is_empty() && self.rest.is_empty() && self.any == NONE && self.literals == 0
    }
}

/// The literal edges of all nodes: open addressing with linear probes, at most half full, a power of two of slots.
#[derive(Clone, Debug)]
struct Edges {
    slots: Vec<Edge>,
    len: usize,
    seed: u64,
}

#[derive(Clone, Debug)]
struct Edge {
    parent: u32,
    /// [`NONE`]: the slot is free.
    child: u32,
    hash: u32,
    token: Box<str>,
}

impl Edges {
    fn new(seed: u64) -> Self {
        Self {
            slots: vec![Edge::free(); 16],
            len: 0,
            seed,
        }
    }

    /// Eight bytes a step; a token is up to 255 bytes.
    #[inline]
    fn hash(&self, token: &[u8]) -> u32 {
        let mut hash = self.seed ^ token.len() as u64;
        let mut words = token.chunks_exact(8);
        for word in &mut words {
            hash = mix(hash ^ u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        let mut last = 0;
        for &byte in words.remainder() {
            last = last << 8 | u64::from(byte);
        }
        (mix(hash ^ last) >> 32) as u32
    }

    #[inline]
    fn child(&self, parent: u32, hash: u32, token: &[u8]) -> u32 {
        let mask = self.slots.len() - 1;
        let mut index = start(parent, hash) & mask;
        loop {
            let edge = &self.slots[index];
            if edge.child == NONE
                || (edge.hash == hash && edge.parent == parent && *edge.token.as_bytes() == *token)
            {
                return edge.child;
            }
            index = (index + 1) & mask;
        }
    }

    fn insert(&mut self, parent: u32, hash: u32, token: &str, child: u32) {
        if (self.len + 1) * 2 > self.slots.len() {
            let bigger = vec![Edge::free(); self.slots.len() * 2];
            for edge in std::mem::replace(&mut self.slots, bigger) {
                if edge.child != NONE {
                    self.place(edge);
                }
            }
        }
        self.len += 1;
        self.place(Edge {
            parent,
            child,
            hash,
            token: token.into(),
        });
    }

    fn place(&mut self, edge: Edge) {
        let mask = self.slots.len() - 1;
        let mut index = start(edge.parent, edge.hash) & mask;
        while self.slots[index].child != NONE {
            index = (index + 1) & mask;
        }
        self.slots[index] = edge;
    }

    /// Takes the edge out and moves those up that had to make way for it, so that no tombstone is needed.
    fn remove(&mut self, parent: u32, hash: u32, child: u32) {
        let mask = self.slots.len() - 1;
        let mut hole = start(parent, hash) & mask;
        while self.slots[hole].child != child {
            debug_assert_ne!(
                self.slots[hole].child, NONE,
                "a node that hangs in the table has an edge"
            );
            hole = (hole + 1) & mask;
        }
        self.slots[hole] = Edge::free();
        self.len -= 1;
        let mut index = (hole + 1) & mask;
        while self.slots[index].child != NONE {
            let home = start(self.slots[index].parent, self.slots[index].hash) & mask;
            if index.wrapping_sub(home) & mask >= index.wrapping_sub(hole) & mask {
                self.slots.swap(hole, index);
                hole = index;
            }
            index = (index + 1) & mask;
        }
    }
}

impl Edge {
    fn free() -> Self {
        Self {
            parent: NONE,
            child: NONE,
            hash: 0,
            token: Box::default(),
        }
    }
}

#[inline]
fn start(parent: u32, hash: u32) -> usize {
    (hash ^ parent.wrapping_mul(0x9e37_79b1)) as usize
}

/// Folded multiplication.
#[inline]
fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ 0x2d35_8dcc_aa6c_78a5) * 0x8bb8_4b93_962e_acc9_u128;
    product as u64 ^ (product >> 64) as u64
}

/// The first token, and what comes behind its dot.
#[inline]
fn split(rest: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut at = 0;
    while let Some(chunk) = rest.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default()) ^ DOTS;
        // The lowest byte that is zero, exactly: borrows only run upwards from it.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            at += zeros.trailing_zeros() as usize / 8;
            return (&rest[..at], Some(&rest[at + 1..]));
        }
        at += 8;
    }
    match rest[at..].iter().position(|&byte| byte == b'.') {
        Some(dot) => (&rest[..at + dot], Some(&rest[at + dot + 1..])),
        None => (rest, None),
    }
}

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;
const ONES: u64 = 0x0101_0101_0101_0101;
const DOTS: u64 = ONES * b'.' as u64;
