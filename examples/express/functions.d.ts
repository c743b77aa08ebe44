/** What can be asked for, and what comes back. The app needs this and no handler; the worker has the handlers. */
export interface Functions {
  add(args: { a: number; b: number }): number
}
