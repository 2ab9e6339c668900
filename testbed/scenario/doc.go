// Package scenario runs whole data centres in the lab: the real programs with
// real configuration files in the namespaces of package topology, real traffic,
// and figures counted at the endpoints.
package scenario
