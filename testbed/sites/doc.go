// Package sites is the tests of two data centres: moves between them, what may
// happen to the network meanwhile, and what nobody outside may learn. The data
// centres are those of `dpmip-lab run inter-dc`; they are brought up once for all
// tests.
package sites
