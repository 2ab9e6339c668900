// Package flower writes filters of the tc classifier "flower" as the kernel
// takes them over rtnetlink, and reads them as it gives them back: what to
// match, and the actions ct, pedit, csum, mirred and gact. It is pure: it opens
// no socket and knows no rule of the contract.
//
// Its bytes are those of iproute2's tc for the same filter: testdata holds what
// tc sent (capture.sh takes it again), and the test compares byte by byte.
package flower
