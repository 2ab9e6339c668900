// Package reap starts and collects processes as PID 1 must: every child that
// ends is waited for, also those inherited from others, and who started one of
// them is told how it ended.
//
// It stands beside os/exec, whose Wait would race with a collector of all
// children: a process that uses this package starts all its children by it.
package reap
