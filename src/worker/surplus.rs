//! Hands back what was taken ahead and finds no slot: a handler takes longer than those before it
//! did, and another worker may have a free one. And all that has not begun, as far as it is still this
//! worker's, once that has counted as dead.

use tokio::time::sleep;

use super::pump::REFUSED_PAUSE;
use super::{Report, Shared};
use crate::broker::Release;
use crate::runtime;

pub async fn run(shared: &Shared) {
    loop {
        tokio::select! {
            () = runtime::until(shared.slots.surplus_at()) => {}
            () = shared.surplus.notified() => {}
        }
        let surplus = shared.slots.take_surplus();
        if surplus.is_empty() {
            continue;
        }
        let conditions = Release {
            lost: None,
            dead: false,
        };
        // Without a deadline: as long as it is not known what became of them, they are nobody else's.
        while let Err(error) = shared.broker.release(&surplus, conditions, None).await {
            shared.slots.return_refused();
            shared.work.notify_one();
            shared.handlers.report(Report::Error(error));
            sleep(REFUSED_PAUSE).await;
        }
        shared.slots.returned(surplus.len());
        shared.freed();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::super::Rules;
    use super::super::run::Ran;
    use super::super::slots::Slots;
    use crate::broker::{Exchange, Exchanged, Owned};
    use crate::outcome::Outcome;
    use crate::task::{Args, Taken};

    const TRIP: Duration = Duration::from_millis(1);

    /// An answer with tasks of these numbers, and more behind them.
    fn brought(exchange: &Exchange, tasks: std::ops::Range<u32>) -> Exchanged {
        let taken = tasks.map(|number| Taken {
            id: number.to_string().into_bytes(),
            function: Some(b"f".to_vec()),
            args: Args::Read(None),
            created: None,
            reply_to: None,
            options: None,
            attempt: None,
            lost: false,
            owner: exchange.owner.clone(),
        });
        Exchanged {
            written: vec![true; exchange.finishes.len()],
            taken: taken.collect(),
            more: true,
            ..Exchanged::default()
        }
    }

    const SLOTS: usize = 8;

    fn slots() -> Slots {
        let rules = Rules {
            concurrency: SLOTS,
            ..Rules::default()
        };
        let slots = Slots::new("worker", rules, true);
        slots.registered();
        slots
    }

    fn ids(owned: Vec<Owned>) -> Vec<String> {
        let ids = owned.into_iter().map(|(id, _)| String::from_utf8(id));
        ids.collect::<Result<_, _>>().unwrap()
    }

    /// Runs what there is a slot for.
    async fn run(slots: &Slots) {
        let begun = slots.begin(1, usize::MAX).begun;
        advance(TRIP / 10).await;
        let ran = Ran::from(Outcome::Successful(None));
        slots.finish([(begun[0].run, ran)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_for_before_goes_back_too_and_nothing_is_asked_for_until_it_is_back() {
        let slots = slots();
        let exchange = slots.next_exchange().unwrap();
        advance(8 * TRIP).await; // The mean is an eighth of the first.
        slots.exchanged(&exchange, brought(&exchange, 0..16));
        run(&slots).await;
        run(&slots).await;
        let held = slots.begin(SLOTS, usize::MAX).begun;
        let exchange = slots.next_exchange().unwrap();
        assert!(exchange.want > 0, "some are on their way");

        advance(10 * TRIP).await;
        assert_eq!(slots.surplus_at(), None);
        assert!(slots.take_surplus().is_empty());
        slots.exchanged(&exchange, brought(&exchange, 16..17));
        assert!(slots.surplus_at().is_some());
        assert_eq!(
            ids(slots.take_surplus()),
            ["10", "11", "12", "13", "14", "15", "16"]
        );

        let ran = Ran::from(Outcome::Successful(None));
        slots.finish(held.into_iter().map(|begun| (begun.run, ran.clone())));
        let exchange = slots.next_exchange().unwrap();
        assert_eq!(exchange.want, 0);
        slots.exchanged(&exchange, brought(&exchange, 0..0));
        slots.returned(7);
        assert!(slots.next_exchange().unwrap().want > 0);
    }
    #[tokio::test(start_paused = true)]
    async fn where_redis_refuses_them_the_worker_goes_on() {
        let slots = slots();
        let exchange = slots.next_exchange().unwrap();
        slots.exchanged(&exchange, brought(&exchange, 0..12));
        let held = slots.begin(SLOTS, usize::MAX).begun;
        advance(10 * TRIP).await;
        assert_eq!(slots.take_surplus().len(), 4);
        let ran = Ran::from(Outcome::Successful(None));
        slots.finish(held.into_iter().map(|begun| (begun.run, ran.clone())));
        assert_eq!(slots.next_exchange().unwrap().want, 0);
        slots.return_refused();
        assert!(slots.next_exchange().unwrap().want > 0);
    }
}
