// What a client hears from the native side.

const errors = require('./errors.js')

const { CancelledError, TaskFailedError, TimeoutError, subject } = errors

/** Kinds of items in a client's mailbox; src/node/client.rs has the same. */
const kinds = {
  ENQUEUED: 0,
  VALUE: 1,
  FAILED: 2,
  TIMED_OUT: 3,
  GONE: 4,
  UNKNOWN: 5,
  ERROR: 6,
  HASH: 7,
  CANCELLED: 8,
  ASKED: 9,
  ENQUEUED_MANY: 10,
  CONNECTED: 11,
}

/** The error that an item stands for, to whoever asked for what `entry` says. */
function failure(item, entry, queue) {
  const about = { taskId: entry.id, function: entry.function }
  switch (item[0]) {
    case kinds.FAILED:
      return new TaskFailedError(item[2], item[3], about)
    case kinds.CANCELLED:
      return new CancelledError(
        `${subject(about)} was cancelled${item[2] === '' ? '' : `: ${item[2]}`}`,
        about,
      )
    case kinds.TIMED_OUT:
      return new TimeoutError(
        `${subject(about)} has not finished in the time given to this wait. ${
          entry.giveUp ? 'It is being cancelled.' : 'The task goes on; client.result(id) waits for it again.'
        }`,
        about,
      )
    case kinds.GONE:
      return new TaskFailedError(
        'its key has vanished from Redis: it was deleted, or it expired',
        undefined,
        about,
      )
    case kinds.UNKNOWN:
      return new TimeoutError(
        `there has been no ${subject(about)} in queue "${queue}" since this wait began. Is the id right?`,
        about,
      )
    case kinds.ERROR:
      return errors.fromNative(item[2], item[3], about)
    default:
      return new Error(`dothis: an item of unknown kind ${item[0]}`)
  }
}

module.exports = { failure, kinds }
