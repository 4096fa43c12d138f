//! A hierarchical timer wheel: arming and cancelling are O(1), expiring is O(what is due), nothing is allocated per timer
//! once the table has grown.
//!
//! Six levels of 64 slots; a tick is 1.024 µs, so level 0 spans 65 µs, level 1 4.2 ms, … and the whole 19 hours (a later
//! deadline waits in the last level and is put back there).

/// Timers that carry a word.
#[derive(Debug)]
pub struct TimerWheel {
    levels: [Level; LEVELS],
    nodes: Vec<Node>,
    free: u32,
    len: usize,
    now_tick: u64,
}

/// Names an armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    occupied: u64,
    heads: [u32; SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct Node {
    at_ns: u64,
    word: u64,
    next: u32,
    previous: u32,
    generation: u32,
    place: u16,
    armed: bool,
}

const LEVELS: usize = 6;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
const TICK_BITS: u32 = 10;
const NONE: u32 = u32::MAX;

impl TimerWheel {
    /// An empty wheel that starts at `now_ns`.
    pub fn new(now_ns: u64) -> Self {
        let level = Level {
            occupied: 0,
            heads: [NONE; SLOTS],
        };
        Self {
            levels: [level; LEVELS],
            nodes: Vec::new(),
            free: NONE,
            len: 0,
            now_tick: now_ns >> TICK_BITS,
        }
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No timer is armed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Arms a timer that gives back `word` when [`Self::expire`] is called at `at_ns` or later.
    pub fn arm(&mut self, at_ns: u64, word: u64) -> TimerId {
        let index = self.take_node();
        let node = &mut self.nodes[index as usize];
        node.at_ns = at_ns;
        node.word = word;
        node.armed = true;
        let generation = node.generation;
        self.link(index);
        self.len += 1;
        TimerId { index, generation }
    }

    /// Disarms; false when it has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        match self.nodes.get(id.index as usize) {
            Some(node) if node.armed && node.generation == id.generation => {
                self.unlink(id.index);
                self.give_node(id.index);
                true
            }
            _ => false,
        }
    }

    /// Fires what is due at `now_ns`, in no particular order within a tick.
    pub fn expire(&mut self, now_ns: u64, mut fire: impl FnMut(u64)) -> usize {
        let target = now_ns >> TICK_BITS;
        let mut fired = 0;
        if self.len == 0 {
            self.now_tick = self.now_tick.max(target);
            return 0;
        }
        loop {
            fired += self.expire_slot(now_ns, &mut fire);
            if self.now_tick >= target {
                return fired;
            }
            self.now_tick = self
                .next_tick()
                .unwrap_or(target)
                .clamp(self.now_tick + 1, target);
            self.cascade();
        }
    }

    /// A time at which [`Self::expire`] must be called: the earliest deadline, or the start of its slot when it is far away.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let mut earliest: Option<u64> = None;
        for (number, level) in self.levels.iter().enumerate() {
            let Some(slot) = first_from(level.occupied, slot_of(self.now_tick, number)) else {
                continue;
            };
            let start = self.slot_start(number, slot);
            let candidate = if number == 0 || self.len <= EXACT_UP_TO {
                // A timer beyond the horizon may wait in a slot that ends before it: later slots come first then.
                let end_ns = (start + (1 << (SLOT_BITS * number as u32))) << TICK_BITS;
                self.slot_minimum(number, slot).min(end_ns)
            } else {
                start << TICK_BITS
            };
            earliest = Some(earliest.map_or(candidate, |so_far| so_far.min(candidate)));
        }
        earliest
    }

    fn expire_slot(&mut self, now_ns: u64, fire: &mut impl FnMut(u64)) -> usize {
        let slot = slot_of(self.now_tick, 0);
        let mut fired = 0;
        let mut index = self.levels[0].heads[slot];
        while index != NONE {
            let node = self.nodes[index as usize];
            if node.at_ns <= now_ns {
                self.unlink(index);
                self.give_node(index);
                fire(node.word);
                fired += 1;
            }
            index = node.next;
        }
        fired
    }

    /// Moves the timers of higher levels down whose slot begins now.
    fn cascade(&mut self) {
        for number in (1..LEVELS).rev() {
            if self.now_tick.trailing_zeros() < SLOT_BITS * number as u32 {
                continue;
            }
            let slot = slot_of(self.now_tick, number);
            let mut index = self.levels[number].heads[slot];
            while index != NONE {
                let next = self.nodes[index as usize].next;
                self.unlink(index);
                self.link(index);
                index = next;
            }
        }
    }

    /// The next tick at which a slot of any level begins that holds timers.
    fn next_tick(&self) -> Option<u64> {
        (0..LEVELS)
            .filter_map(|number| {
                let level = &self.levels[number];
                // The current slot of level 0 was just expired; of a higher level it lies a whole turn ahead.
                let from = slot_of(self.now_tick, number);
                let others = if number == 0 {
                    level.occupied & !(1 << from)
                } else {
                    level.occupied
                };
                first_from(others, (from + 1) % SLOTS).map(|slot| self.slot_start(number, slot))
            })
            .min()
    }

    /// The tick at which a slot begins, counted from now on.
    fn slot_start(&self, number: usize, slot: usize) -> u64 {
        let shift = SLOT_BITS * number as u32;
        let current = self.now_tick >> shift;
        let mut ahead = (slot as u64).wrapping_sub(current) & (SLOTS as u64 - 1);
        if ahead == 0 && number > 0 {
            ahead = SLOTS as u64;
        }
        (current + ahead) << shift
    }

    fn slot_minimum(&self, number: usize, slot: usize) -> u64 {
        let mut minimum = u64::MAX;
        let mut index = self.levels[number].heads[slot];
        while index != NONE {
            minimum = minimum.min(self.nodes[index as usize].at_ns);
            index = self.nodes[index as usize].next;
        }
        minimum
    }

    fn link(&mut self, index: u32) {
        let tick = (self.nodes[index as usize].at_ns >> TICK_BITS)
            .clamp(self.now_tick, self.now_tick + HORIZON);
        let distance = tick ^ self.now_tick;
        let number = (63 - (distance | 1).leading_zeros()) as usize / SLOT_BITS as usize;
        let (number, slot) = if number < LEVELS {
            (number, slot_of(tick, number))
        } else {
            (LEVELS - 1, slot_of(tick, LEVELS - 1))
        };
        let head = self.levels[number].heads[slot];
        if head != NONE {
            self.nodes[head as usize].previous = index;
        }
        let node = &mut self.nodes[index as usize];
        node.next = head;
        node.previous = NONE;
        node.place = (number * SLOTS + slot) as u16;
        self.levels[number].heads[slot] = index;
        self.levels[number].occupied |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let Node {
            next,
            previous,
            place,
            ..
        } = self.nodes[index as usize];
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous as usize].next = next;
            return;
        }
        let (number, slot) = (usize::from(place) / SLOTS, usize::from(place) % SLOTS);
        self.levels[number].heads[slot] = next;
        if next == NONE {
            self.levels[number].occupied &= !(1 << slot);
        }
    }

    fn take_node(&mut self) -> u32 {
        if self.free != NONE {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            return index;
        }
        self.nodes.push(Node {
            at_ns: 0,
            word: 0,
            next: NONE,
            previous: NONE,
            generation: 0,
            place: 0,
            armed: false,
        });
        self.nodes.len() as u32 - 1
    }

    fn give_node(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.armed = false;
        node.generation = node.generation.wrapping_add(1);
        node.next = self.free;
        self.free = index;
        self.len -= 1;
    }
}

/// The deadline is computed exactly while so few timers are armed; a start of a slot is a lower bound otherwise.
const EXACT_UP_TO: usize = 64;

/// The farthest that a timer is linked ahead, in ticks: one slot short of a whole turn of the last level.
const HORIZON: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - (1 << (SLOT_BITS * (LEVELS as u32 - 1)));

fn slot_of(tick: u64, number: usize) -> usize {
    (tick >> (SLOT_BITS * number as u32)) as usize & (SLOTS - 1)
}

/// The first set bit at `from` or after it, around the end.
fn first_from(bits: u64, from: usize) -> Option<usize> {
    (bits != 0).then(|| (bits.rotate_right(from as u32).trailing_zeros() as usize + from) % SLOTS)
}
