//! What one JavaScript object is to hear. Items gather here as JSON text; JavaScript is woken
//! once, and pulls them a portion at a time until there are none.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Mutex;

use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

use crate::broker::connection::lock;
use crate::json;

/// How much one pull hands over: few enough that the event loop gets its turn in between.
pub const PORTION: usize = 256;
/// Half of what V8 keeps where it keeps everything: a larger string gets fresh pages from the kernel, and with 2 KB
/// of args a worker took a fifth longer for it.
pub const PORTION_BYTES: usize = 64 * 1024;
/// What most items have room in.
const SHORT: usize = 48;

/// Does not keep Node.js alive: `lib/port.js` does, while there is something to wait for.
type Wake = ThreadsafeFunction<(), (), (), Status, false, true>;

pub struct Mailbox {
    wake: Wake,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: VecDeque<String>,
    /// JavaScript has been woken and has not found everything pulled yet. Under the same lock as
    /// the items, so that nothing put in is left without a wake.
    awake: bool,
}

impl Mailbox {
    pub fn new(wake: Function<(), ()>) -> napi::Result<Self> {
        let wake = wake
            .build_threadsafe_function::<()>()
            .callee_handled::<false>()
            .weak::<true>()
            .build()?;
        Ok(Mailbox {
            wake,
            state: Mutex::default(),
        })
    }

    /// Puts in an item: the JSON text of an array whose first element tells its kind.
    pub fn push(&self, item: String) {
        let mut state = lock(&self.state);
        state.items.push_back(item);
        let awake = std::mem::replace(&mut state.awake, true);
        drop(state);
        self.rouse(awake);
    }

    /// Wakes JavaScript for items that its next pull brings along itself.
    pub fn rouse_for_more(&self) {
        self.rouse(!self.claim());
    }

    /// Whether JavaScript is to pull without being woken: it is here already, and nothing has woken it.
    pub fn claim(&self) -> bool {
        !std::mem::replace(&mut lock(&self.state).awake, true)
    }

    /// Without the lock: JavaScript's thread may run at once in place of this one, and would wait for it.
    fn rouse(&self, awake: bool) {
        if !awake {
            // Fails only while the environment is torn down, when nobody listens any more.
            self.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// The next portion, as JSON: `[1 if there is more else 0, item, …]`. `fill` adds items of its
    /// own, each with a comma before it, and says whether it has more.
    pub fn pull(&self, fill: impl FnOnce(&mut String) -> bool) -> String {
        let mut text = String::from("[0");
        let mut state = lock(&self.state);
        let mut count = 0;
        while count < PORTION && text.len() < PORTION_BYTES {
            let Some(item) = state.items.pop_front() else {
                break;
            };
            text.push(',');
            text.push_str(&item);
            count += 1;
        }
        let more = fill(&mut text) || !state.items.is_empty();
        state.awake = more;
        drop(state);
        if more {
            text.replace_range(1..2, "1");
        }
        text.push(']');
        text
    }
}

/// Writes one item, field by field.
pub struct Item(String);

impl Item {
    pub fn new(kind: u32, number: u32) -> Self {
        Item::after(String::with_capacity(SHORT), kind, number)
    }

    /// To the end of a text that has others already.
    pub fn after(mut text: String, kind: u32, number: u32) -> Self {
        // Writing into a String can't fail.
        let _ = write!(text, "[{kind},{number}");
        Item(text)
    }

    pub fn text(mut self, text: &str) -> Self {
        self.0.push(',');
        json::push_string(&mut self.0, text);
        self
    }

    /// Text that is JSON already, and known to be.
    pub fn json(mut self, text: &str) -> Self {
        self.0.push(',');
        self.0.push_str(text);
        self
    }

    pub fn end(mut self) -> String {
        self.0.push(']');
        self.0
    }
}
