// Package health asks a running dpmip-agent how it is, over its control socket:
// whether it answers at all, for the supervisor, and what its doctor says, for
// the trial of an update. It speaks HTTP and JSON and knows nothing else of the
// agent, so that an update may change both.
package health
