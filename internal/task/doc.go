// Package task runs the long-lived parts of a daemon: each is a Task, a Group
// runs them together until one ends, a signal comes or the context is done.
//
// The order of shutdown is the reverse of the order given: what was started
// first (a store, say) is stopped last, after all that use it have returned.
package task
