// Package igp is the default router's side of FRR: the configuration fragment
// that makes OSPFv2, OSPFv3, IS-IS or BGP pick up dpmip's host routes from the
// kernel, and the questions that tell whether they do.
//
// FRR is asked by its own shell, vtysh, for JSON where it has it. Examine is
// pure: facts in, findings out.
package igp
