// Package result is the JSON that a lab run gives out: a stable schema, meant
// for programs. Endpoint figures (udp, tcp, new_connections, blackout) are
// counted at the endpoints by number; phases, redirect and hold are what the
// daemons report and prove nothing by themselves.
//
// Times are milliseconds as decimal fractions where the name ends in _ms,
// microseconds in _us, integer nanoseconds since the start of the run in _ns.
// Figures that a daemon did not report are null, never 0. Fields are added,
// never renamed. How the redirect is made (routed, translated) is the field
// "mode" of the object "redirect": JSON has one value for one name.
package result
