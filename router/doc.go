// Package router turns the management node's Requests into host routes: the
// default router (ToR), spine and border roles of
// draft-sarikaya-nvo3-vmm-dmm-pmip-03 section 7.
//
// Core is pure: it is told what happened and says what is to be done. A route
// is confirmed to the management node only after the kernel has it; a lifetime
// that runs out is reported and cuts nothing (fail static).
package router
