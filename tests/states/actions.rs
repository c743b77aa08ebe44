//! What each step does, and what it must answer and bring about.

use super::*;

impl World {
    pub fn act(&mut self, op: &Op, before: &Snapshot) -> Result<Expected, TestCaseError> {
        let id = |index: &usize| IDS[*index];
        match op {
            Op::Enqueue { tasks, lost } => self.enqueue(tasks, *lost, before),
            Op::Resend => self.resend(before),
            Op::ForeignHash(index) => self.foreign_hash(id(index), before),
            Op::ForeignPush => self.foreign_push(),
            Op::Exchange {
                worker,
                want,
                ends,
                lost,
            } => match self.workers[*worker].unanswered.take() {
                Some(sent) => self.exchange_again(*worker, sent, before),
                None => self.exchange(*worker, *want, ends, *lost, before),
            },
            Op::HandBack {
                worker,
                count,
                crashed,
            } => self.hand_back(*worker, *count, *crashed, before),
            Op::Die { worker, restarted } => self.die(*worker, *restarted),
            Op::Heartbeat(worker) => self.heartbeat(*worker),
            Op::Tick { care } => self.tick(*care, before),
            Op::LookForDead => self.look_for_dead(),
            Op::PutBack => self.put_back(before),
            Op::ForeignTake(foreigner) => self.foreign_take(*foreigner, before),
            Op::ForeignMark(foreigner) => self.foreign_mark(*foreigner, before),
            Op::ForeignFinish(foreigner) => self.foreign_finish(*foreigner, before),
            Op::ForeignDie(foreigner) => {
                if let Some(foreigner) = &mut self.foreigners[*foreigner] {
                    foreigner.dead = true;
                }
                Ok(Expected::nothing())
            }
            Op::Reclaim => self.reclaim(before),
            Op::Cancel(index) => self.cancel(id(index), before),
            Op::Attach(index, other) => self.attach(id(index), *other, before),
            Op::ComeDue(index) => self.come_due(*index, before),
            Op::Expire(index) => self.expire(id(index), before),
            Op::Forget(index) => self.forget(id(index), before),
            Op::Delete(index) => self.delete(id(index), before),
            Op::PushAgain(index) => self.push_again(id(index), before),
        }
    }

    fn call<T: redis::FromRedisValue>(&mut self, command: &str) -> T {
        run(&mut self.redis, command)
    }

    fn enqueue(&mut self, tasks: &[New], lost: bool, before: &Snapshot) -> Acted {
        let mut made = BTreeSet::new();
        let mut awaited = BTreeSet::new();
        let mut expected = Vec::new();
        let mut tasks = tasks.to_vec();
        for task in &mut tasks {
            let id = IDS[task.id];
            task.fresh &= !made.contains(id) && !before.tasks.contains_key(id);
            let new = match before.state(id) {
                _ if made.contains(id) => false,
                Some("finished") => task.again,
                _ => !before.tasks.contains_key(id),
            };
            if new {
                made.insert(id);
                self.past(id).made()?;
                awaited.extend(task.reply.then(|| id.to_owned()));
            }
            self.seen.insert(if new { "created" } else { "existed" });
            expected.push(i64::from(new));
        }
        if lost && self.sent.is_none() {
            let now = dothis::clock::now();
            let answer = self.send(&now, &tasks);
            prop_assert_eq!(&answer, &expected);
            self.sent = Some(Sent {
                now,
                tasks,
                answer,
                after: Snapshot::of(&mut self.redis),
            });
            return Ok(Expected::default());
        }
        let tasks: Vec<NewTask> = tasks.iter().map(new_task).collect();
        let answer = block(self.broker.enqueue(&tasks, NAME, PLACE, deadline()));
        let answer: Vec<i64> = answer
            .expect("an answer")
            .into_iter()
            .map(|enqueued| i64::from(enqueued == Enqueued::Created))
            .collect();
        prop_assert_eq!(answer, expected);
        Ok(Expected {
            awaited,
            ..Expected::default()
        })
    }

    /// Sends the client's call whose answer was lost again.
    fn resend(&mut self, before: &Snapshot) -> Acted {
        let Some(sent) = self.sent.take() else {
            return Ok(Expected::nothing());
        };
        let answer = self.send(&sent.now, &sent.tasks);
        for id in IDS {
            let created = |snapshot: &Snapshot| {
                let created = snapshot.field(id, "pending-created");
                created.map(str::to_owned)
            };
            // Of a task that is gone, or was made anew meanwhile, nothing more is known; and where
            // an id is twice in a batch, not which of the two made it.
            let made = |answer: &[i64]| -> i64 {
                let tasks = sent.tasks.iter().zip(answer);
                tasks
                    .filter(|(task, _)| IDS[task.id] == id)
                    .map(|(_, made)| made)
                    .sum()
            };
            if created(before) == created(&sent.after) {
                prop_assert_eq!(made(&answer), made(&sent.answer), "{}", id);
            }
        }
        self.seen.insert("resent");
        Ok(Expected::nothing())
    }

    /// What the broker sends, for a call that it would only send again were the connection cut.
    fn send(&mut self, now: &str, tasks: &[New]) -> Vec<i64> {
        let script = Script::new(include_str!("../../src/broker/scripts/enqueue.lua"));
        let mut call = script.prepare_invoke();
        call.key("q:pending")
            .key("q:due")
            .key(format!("q:sent:{NAME}"));
        call.arg("q:task:").arg(now).arg("q:wake");
        call.arg(LOST_PLACE).arg("f").arg("f");
        for task in tasks {
            let flag = |set: bool, text: &str| if set { text.to_owned() } else { String::new() };
            let at = format!("@{FUTURE:.0}");
            call.arg("w").arg(flag(task.reply, ADDRESS));
            call.arg("x")
                .arg(1)
                .arg(IDS[task.id])
                .arg("{}")
                .arg(format!(
                    "{}|{}|{}|{}",
                    if task.fresh {
                        "n".to_owned()
                    } else {
                        flag(task.again, "1")
                    },
                    flag(task.put_off, &at),
                    flag(task.expires, &at),
                    flag(task.options, OPTIONS),
                ));
        }
        match call.invoke(&mut self.redis).expect("an answer") {
            redis::Value::Int(1) => vec![1; tasks.len()],
            each => redis::from_redis_value(each).expect("a number for each"),
        }
    }

    fn foreign_hash(&mut self, id: &str, before: &Snapshot) -> Acted {
        if before.tasks.contains_key(id) || self.unpushed.iter().any(|other| other == id) {
            return Ok(Expected::nothing());
        }
        self.calls += 1;
        let created = format!("foreign{}", self.calls);
        let fields = "function f args {} state pending";
        self.call::<()>(&format!(
            "HSET q:task:{id} {fields} pending-created {created}"
        ));
        self.past(id).made()?;
        self.unpushed.push(id.to_owned());
        Ok(Expected::default())
    }

    fn foreign_push(&mut self) -> Acted {
        if !self.unpushed.is_empty() {
            let id = self.unpushed.remove(0);
            self.call::<()>(&format!("LPUSH q:pending {id}"));
        }
        Ok(Expected::default())
    }

    fn exchange(
        &mut self,
        worker: usize,
        want: usize,
        ends: &[Ending],
        lost: bool,
        before: &Snapshot,
    ) -> Acted {
        self.workers[worker].exchanges += 1;
        let it = &mut self.workers[worker];
        let owner: Arc<str> = format!("{}:{}", it.uuid, it.exchanges).into();
        let (uuid, alive) = (it.uuid.clone(), it.alive);
        let count = ends.len().min(it.held.len());
        let mut held: Vec<_> = it.held.drain(..count).zip(ends).collect();
        // As an exchange has them.
        held.sort_by_key(|(_, ending)| !matches!(end(**ending, 1), End::Retry { .. }));
        let mut expected = Expected::default();
        let mut pending = before.pending.clone();
        let mut written = Vec::new();
        let mut finishes = Vec::new();
        for ((id, token, attempt, reply_to), ending) in held {
            let end = end(*ending, attempt);
            let ours = before.owner(&id) == Some(&*token);
            written.push(ours);
            let retry = matches!(end, End::Retry { .. });
            if ours && retry && before.field(&id, "cancel").is_none() {
                self.past(&id).attempt += 1;
                self.seen.insert("retried");
                if matches!(ending, Ending::RetryNow) {
                    pending.push(id.clone());
                }
            } else if ours {
                expected.ended.insert(id.clone());
                self.seen.insert("finished");
            } else {
                self.seen.insert("finished by a stranger in vain");
            }
            let id = id.into_bytes();
            finishes.push(Finish {
                id,
                owner: token,
                reply_to,
                place: 0,
                end,
            });
        }
        let mut exchange = Exchange::new(
            uuid,
            owner.clone(),
            Keep::ForEver,
            self.workers[worker].exchanges,
            self.workers[worker].repetitions.clone(),
            finishes,
            want,
        );
        exchange.args_apart = want % 2 == 1;
        let exchanged = block(self.broker.exchange(&exchange)).expect("an answer");
        prop_assert_eq!(&exchanged.written, &written);
        prop_assert_eq!(exchanged.unregistered, !alive && want > 0);
        let popped = if alive { want.min(pending.len()) } else { 0 };
        self.took(&exchanged, &pending[..popped], before, &mut expected)?;
        expected.pending = Some(pending.split_off(popped));
        expected.owned = Some((owner, ids(&exchanged)));
        if lost {
            let after = Snapshot::of(&mut self.redis);
            self.workers[worker].unanswered = Some((exchange, exchanged, after));
        } else {
            self.received(worker, &exchanged);
        }
        Ok(expected)
    }

    /// What was popped has been taken, has ended, or was dropped.
    fn took(
        &mut self,
        exchanged: &Exchanged,
        popped: &[String],
        before: &Snapshot,
        expected: &mut Expected,
    ) -> Checked {
        let taken = ids(exchanged);
        prop_assert_eq!(taken.len(), exchanged.taken.len(), "taken twice");
        for task in &exchanged.taken {
            let id = text(&task.id);
            let args = before
                .field(&id, "args")
                .map(|args| args.as_bytes().to_vec());
            prop_assert_eq!(&task.args, &Args::Read(args), "the args of {}", id);
            // Of one that had finished, and was put in again, all that goes.
            if before.field(&id, "finished-created").is_some() {
                prop_assert!(!task.lost && task.attempt.is_none(), "{} begins anew", id);
                self.seen.insert("begun anew after its end");
                let past = self.past(&id);
                (past.lost, past.attempt) = (0, 1);
                continue;
            }
            // Without options nobody looks for more; a person may have taken those away.
            let known = before.field(&id, "options").is_some();
            let lost = known && before.field(&id, "lost").is_some();
            prop_assert_eq!(task.lost, lost, "{} is told as a suspect", id);
            let unknown = !known && before.field(&id, "lost").is_some();
            prop_assert!(!unknown || self.past(&id).disturbed, "{} is a suspect", id);
        }
        for id in popped {
            let renewed = before.field(id, "finished-created").is_some();
            let expires = !renewed && before.field(id, "expires") == Some(EXPIRED);
            let cancelled = !renewed && before.field(id, "cancel").is_some();
            prop_assert!(
                !(expires || cancelled) || !taken.contains(id),
                "{id} begins too late"
            );
            if self.past(id).disturbed {
                continue;
            }
            prop_assert_eq!(taken.contains(id), !(expires || cancelled), "taking {}", id);
            if cancelled || expires {
                expected.ended.insert(id.clone());
                self.seen.insert("expired when taken");
            }
        }
        for dropped in &exchanged.dropped {
            let id = text(&dropped.id);
            prop_assert!(
                self.past(&id).disturbed,
                "{id} was dropped: {}",
                dropped.why
            );
            self.seen.insert("dropped");
        }
        Ok(())
    }

    fn exchange_again(
        &mut self,
        worker: usize,
        (mut exchange, first, then): (Exchange, Exchanged, Snapshot),
        before: &Snapshot,
    ) -> Acted {
        exchange.sent += 1;
        let again = block(self.broker.exchange(&exchange)).expect("an answer");
        self.seen.insert("exchange repeated");
        for (index, finish) in exchange.finishes.iter().enumerate() {
            let id = text(&finish.id);
            let created = |snapshot: &Snapshot| {
                let created = snapshot.field(&id, "pending-created");
                created.map(str::to_owned)
            };
            let same = exchange.finishes.iter().filter(|it| it.id == finish.id);
            if same.count() > 1 {
                // Lost, and taken anew: which of the two runs wrote it is not known any more.
                continue;
            }
            if !before.tasks.contains_key(&id) {
                // Removed by this very exchange, or by others since: nobody has lost anything.
                prop_assert!(again.written[index]);
            } else if created(before) == created(&then) && !self.past(&id).overwritten {
                prop_assert_eq!(again.written[index], first.written[index], "{}", id);
            }
        }
        prop_assert_eq!(ids(&again).len(), again.taken.len(), "taken twice");
        let mut expected = Expected {
            owned: Some((exchange.owner.clone(), ids(&again))),
            ..Expected::default()
        };
        let is_owned = |id: &&str| before.owner(id) == Some(&*exchange.owner);
        let popped = match IDS.iter().any(&is_owned) {
            true => 0,
            false if self.workers[worker].alive => exchange.want.min(before.pending.len()),
            false => 0,
        };
        if popped == 0 {
            let has = IDS.iter().filter(|id| is_owned(id));
            let has: BTreeSet<String> = has.map(|id| (*id).to_owned()).collect();
            prop_assert_eq!(ids(&again), has);
        } else {
            self.took(&again, &before.pending[..popped], before, &mut expected)?;
        }
        expected.pending = Some(before.pending[popped..].to_vec());
        self.received(worker, &again);
        Ok(expected)
    }

    fn received(&mut self, worker: usize, exchanged: &Exchanged) {
        for task in &exchanged.taken {
            let attempt = task.attempt.as_deref().map_or("1".into(), text);
            let attempt = attempt.parse().expect("a number");
            let reply_to = task.reply_to.clone();
            let held = (text(&task.id), task.owner.clone(), attempt, reply_to);
            self.workers[worker].held.push(held);
            self.seen.insert("taken");
        }
    }

    fn hand_back(
        &mut self,
        worker: usize,
        count: usize,
        crashed: bool,
        before: &Snapshot,
    ) -> Acted {
        let held = &mut self.workers[worker].held;
        let tasks = held.split_off(held.len().saturating_sub(count));
        let tasks: Vec<Owned> = tasks
            .into_iter()
            .map(|(id, owner, ..)| (id.into_bytes(), owner))
            .collect();
        let conditions = Release {
            lost: crashed.then_some(LIMIT),
            dead: false,
        };
        self.seen.insert("handed back");
        self.release(&tasks, conditions, before)
    }

    fn release(&mut self, tasks: &[Owned], conditions: Release, before: &Snapshot) -> Acted {
        let mut expected = Expected::default();
        let mut back = Vec::new();
        let mut gone = BTreeSet::new();
        for (id, owner) in tasks {
            let id = text(id);
            let found = before.owner(&id).unwrap_or_default();
            let worker = owner.split(':').next().unwrap_or_default();
            let lives = before.keys.contains(&format!("q:worker:{worker}"));
            let ours = match &**owner {
                strange if strange.starts_with('@') => {
                    let executing = before.executing.contains(&id);
                    let is_one = before.tasks.contains_key(&id);
                    found.is_empty() && executing && is_one && before.state(&id) != Some("finished")
                }
                owner => found == owner,
            };
            if ours && conditions.dead && lives {
                self.seen.insert("spared because it came back to life");
            }
            // An id that is twice in `executing`, because of a person, goes back twice.
            if !ours || conditions.dead && lives || !gone.insert((id.clone(), owner.clone())) {
                continue;
            }
            if conditions.lost.is_some() {
                self.past(&id).lost += 1;
            }
            if before.field(&id, "cancel").is_some() {
                expected.ended.insert(id);
                self.seen.insert("cancelled");
            } else if conditions.lost.is_some() && self.past(&id).lost >= LIMIT {
                expected.ended.insert(id);
                self.seen.insert("given up");
            } else {
                if conditions.dead {
                    self.seen.insert("put back from the dead");
                }
                back.push(id);
            }
        }
        let answer = block(self.broker.release(tasks, conditions, Some(deadline())));
        let disturbed = tasks.iter().any(|(id, _)| self.past(&text(id)).disturbed);
        if !disturbed {
            let counts = (back.len(), expected.ended.len());
            prop_assert_eq!(answer.expect("an answer"), counts);
            back.extend(before.pending.iter().cloned());
            expected.pending = Some(back);
        }
        Ok(expected)
    }

    fn die(&mut self, worker: usize, restarted: bool) -> Acted {
        let uuid = self.workers[worker].uuid.clone();
        self.call::<()>(&format!("DEL q:worker:{uuid}"));
        self.call::<()>(&format!("ZADD q:workers XX {PAST} {uuid}"));
        if restarted {
            self.calls += 1;
            self.workers[worker] = World::worker(worker);
            self.workers[worker].uuid = format!("{uuid}+").into();
        }
        self.workers[worker].alive = false;
        Ok(Expected::default())
    }

    fn heartbeat(&mut self, worker: usize) -> Acted {
        let Worker { uuid, alive, .. } = &mut self.workers[worker];
        let fields = [("registered", "t".to_owned())];
        let there = block(self.broker.register(uuid, &fields, LONG, || 0, deadline()));
        prop_assert_eq!(there.expect("an answer").0, *alive);
        *alive = true;
        Ok(Expected::default())
    }

    fn tick(&mut self, care: bool, before: &Snapshot) -> Acted {
        let care = if care { LONG } else { Duration::ZERO };
        let tick = block(self.broker.tick(care, deadline())).expect("an answer");
        let past = |due: Option<&i64>| due.is_some_and(|due| *due <= PAST);
        let dead = before.workers.iter().filter(|(_, due)| past(Some(due)));
        let dead: Vec<String> = dead.map(|(uuid, _)| uuid.clone()).collect();
        prop_assert_eq!(tick.dead, if care.is_zero() { Vec::new() } else { dead });
        let ended = IDS.iter().filter(|id| {
            past(before.due.get(&format!("expire:{id}")))
                && before.field(id, "expires") == Some(EXPIRED)
                && before.state(id) == Some("pending")
                && before.waits(id)
        });
        let ended: BTreeSet<String> = ended.map(|id| (*id).to_owned()).collect();
        if !ended.is_empty() {
            self.seen.insert("expired in time");
        }
        Ok(Expected {
            ended,
            ..Expected::default()
        })
    }

    fn look_for_dead(&mut self) -> Acted {
        let ids = block(self.broker.executing(deadline())).expect("an answer");
        let owners = block(self.broker.owners(&ids, deadline())).expect("an answer");
        let owned = ids.into_iter().zip(owners);
        let owned = owned.filter_map(|(id, held)| Some((id, text(&held.owner?))));
        let owned: Vec<(Vec<u8>, String)> = owned.collect();
        let worker = |owner: &str| owner.split(':').next().unwrap_or_default().to_owned();
        let workers: Vec<String> = owned.iter().map(|(_, owner)| worker(owner)).collect();
        let dead = block(self.broker.dead(&workers, deadline())).expect("an answer");
        self.orphans = owned
            .into_iter()
            .filter(|(_, owner)| dead.contains(&worker(owner)))
            .map(|(id, owner)| (id, owner.into()))
            .collect();
        Ok(Expected::nothing())
    }

    fn put_back(&mut self, before: &Snapshot) -> Acted {
        let orphans = std::mem::take(&mut self.orphans);
        let conditions = Release {
            lost: Some(LIMIT),
            dead: true,
        };
        self.release(&orphans, conditions, before)
    }

    fn foreign_take(&mut self, foreigner: usize, before: &Snapshot) -> Acted {
        if self.foreigners[foreigner].is_some() {
            return Ok(Expected::nothing());
        }
        let id: Option<String> = self.call("RPOPLPUSH q:pending q:executing");
        let Some(id) = id else {
            return Ok(Expected::nothing());
        };
        if before.tasks.contains_key(&id) && before.state(&id) != Some("finished") {
            self.foreigners[foreigner] = Some(Foreigner { id, dead: false });
        } else {
            self.call::<()>(&format!("LREM q:executing -1 {id}"));
        }
        Ok(Expected::default())
    }

    fn foreign_mark(&mut self, foreigner: usize, before: &Snapshot) -> Acted {
        if let Some(Foreigner { id, dead: false }) = &self.foreigners[foreigner]
            && before.tasks.contains_key(id)
        {
            let fields = "state executing executing-created t";
            let command = format!("HSET q:task:{id} {fields}");
            self.call::<()>(&command);
        }
        Ok(Expected::default())
    }

    fn foreign_finish(&mut self, foreigner: usize, before: &Snapshot) -> Acted {
        let Some(Foreigner { id, dead: false }) = &self.foreigners[foreigner] else {
            return Ok(Expected::nothing());
        };
        let id = id.clone();
        self.foreigners[foreigner] = None;
        if !before.tasks.contains_key(&id) {
            self.call::<()>(&format!("LREM q:executing -1 {id}"));
            return Ok(Expected::default());
        }
        let key = format!("q:task:{id}");
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.cmd("HSET").arg(&key).arg("state").arg("finished");
        pipe.arg("result").arg("successful");
        pipe.arg("finished-created").arg("t");
        pipe.cmd("LREM").arg("q:executing").arg(-1).arg(&id);
        pipe.cmd("PUBLISH").arg("q:results").arg(&key);
        pipe.query::<()>(&mut self.redis).expect("a transaction");
        self.seen.insert("finished by another kind");
        Ok(Expected {
            ended: [id].into(),
            untold: true,
            ..Expected::default()
        })
    }

    /// What is executing without an owner, and with nobody who would go on with it, is taken over.
    fn reclaim(&mut self, before: &Snapshot) -> Acted {
        for foreigner in &mut self.foreigners {
            if foreigner.as_ref().is_some_and(|it| it.dead) {
                *foreigner = None;
            }
        }
        let held: Vec<&str> = self.foreigners.iter().flatten().map(|it| &*it.id).collect();
        let strange = before
            .executing
            .iter()
            .filter(|id| before.owner(id).is_none() && !held.contains(&id.as_str()));
        let tasks: Vec<Owned> = strange
            .map(|id| {
                let field = |name| before.field(id, name).unwrap_or_default();
                let run = format!("@{}|{}", field("executing-created"), field("lost"));
                (id.clone().into_bytes(), Arc::from(run))
            })
            .collect();
        let conditions = Release {
            lost: Some(LIMIT),
            dead: false,
        };
        self.release(&tasks, conditions, before)
    }

    fn cancel(&mut self, id: &str, before: &Snapshot) -> Acted {
        let ids = [id.as_bytes().to_vec()];
        let answer = block(self.broker.cancel(&ids, "why", true, deadline()));
        let expected = match before.state(id) {
            _ if !before.tasks.contains_key(id) => Cancelled::Missing,
            Some("finished") => Cancelled::TooLate,
            Some("pending") if before.waits(id) => Cancelled::Ended,
            _ => Cancelled::Asked("why".into()),
        };
        prop_assert_eq!(answer.expect("an answer"), [expected.clone()]);
        let mut ended = BTreeSet::new();
        if expected == Cancelled::Ended {
            self.seen.insert("cancelled");
            ended.insert(id.to_owned());
        }
        Ok(Expected {
            ended,
            nothing: matches!(expected, Cancelled::Missing | Cancelled::TooLate),
            ..Expected::default()
        })
    }

    fn attach(&mut self, id: &str, other: bool, before: &Snapshot) -> Acted {
        let address = ADDRESSES[usize::from(other)];
        let answer = block(self.broker.attach(&[id.into()], address, deadline()));
        let answer = answer.expect("an answer").remove(0);
        let foreign = before.state(id) == Some("executing") && before.owner(id).is_none();
        match before.state(id) {
            None => prop_assert_eq!(answer, Standing::Missing),
            Some("finished") => prop_assert!(matches!(answer, Standing::Finished(_))),
            _ => prop_assert_eq!(answer, Standing::Waiting { foreign }),
        }
        Ok(Expected::default())
    }

    fn come_due(&mut self, index: usize, before: &Snapshot) -> Acted {
        let members: Vec<&String> = before.due.keys().collect();
        if members.is_empty() {
            return Ok(Expected::nothing());
        }
        let member = members[index % members.len()];
        match member.strip_prefix("expire:") {
            Some(id) if before.field(id, "expires").is_some() => self.expire(id, before),
            _ => {
                self.call::<()>(&format!("ZADD q:due XX {PAST} {member}"));
                Ok(Expected::default())
            }
        }
    }

    fn expire(&mut self, id: &str, before: &Snapshot) -> Acted {
        if before.field(id, "expires").is_some() && before.state(id) != Some("finished") {
            self.call::<()>(&format!("HSET q:task:{id} expires {EXPIRED}"));
        }
        self.call::<()>(&format!("ZADD q:due XX {PAST} expire:{id}"));
        Ok(Expected::default())
    }

    fn forget(&mut self, id: &str, before: &Snapshot) -> Acted {
        if before.state(id) == Some("finished") && before.expiring.contains(id) {
            self.call::<()>(&format!("DEL q:task:{id}"));
        }
        Ok(Expected::default())
    }

    fn delete(&mut self, id: &str, before: &Snapshot) -> Acted {
        if before.tasks.contains_key(id) {
            self.call::<()>(&format!("DEL q:task:{id}"));
            let past = self.past(id);
            past.deleted = true;
            past.disturbed = true;
        }
        Ok(Expected::default())
    }

    fn push_again(&mut self, id: &str, before: &Snapshot) -> Acted {
        if before.tasks.contains_key(id) {
            self.call::<()>(&format!("LPUSH q:pending {id}"));
            self.past(id).disturbed = true;
        }
        Ok(Expected::default())
    }
}

fn new_task(new: &New) -> NewTask {
    let at = |set: bool| set.then_some(When::At(FUTURE));
    NewTask {
        id: IDS[new.id].into(),
        function: "f".into(),
        args: "{}".into(),
        reply: new.reply,
        fresh: new.fresh,
        again: new.again,
        start: at(new.put_off),
        expires: at(new.expires),
        options: new.options.then(|| OPTIONS.into()),
    }
}

fn end(ending: Ending, attempt: u32) -> End {
    let value = || Outcome::Successful(Some("1".into()));
    let retry = |delay| End::Retry {
        reason: "why".into(),
        attempt: attempt + 1,
        delay,
    };
    match ending {
        Ending::Value => End::Finished(value(), Keep::ForEver),
        Ending::Nothing => End::Finished(Outcome::Successful(None), Keep::ForEver),
        Ending::Failed => End::Finished(Outcome::refused("why"), Keep::For(LONG)),
        Ending::Cancelled => End::Finished(Outcome::Cancelled("why".into()), Keep::ForEver),
        Ending::Removed => End::Finished(value(), Keep::NOT_AT_ALL),
        Ending::Kept => End::Finished(value(), Keep::For(LONG)),
        Ending::RetryNow => retry(Duration::ZERO),
        Ending::RetryLater => retry(LONG),
    }
}

fn ids(exchanged: &Exchanged) -> BTreeSet<String> {
    exchanged.taken.iter().map(|task| text(&task.id)).collect()
}
