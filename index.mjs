import dothis from './index.js'

export default dothis
export const {
  ArgsError,
  CancelledError,
  ClosedError,
  ConnectionError,
  DothisError,
  LostError,
  NonRetryableError,
  RefusedError,
  TaskFailedError,
  TimeoutError,
} = dothis
