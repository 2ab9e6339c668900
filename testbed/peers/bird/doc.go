// Package bird runs Debian's BIRD 2 in a network namespace of the testbed, as
// the router of a provider or of another site.
package bird
