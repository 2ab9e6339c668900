// Package bench measures what dpmip promises: ratios against what a user would
// take instead, both sides in turns within one run, and limits. Every figure is
// taken on this machine, from the real programs or packages; docs/benchmarks.md
// says how.
package bench
