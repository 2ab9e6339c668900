// Package detect looks at the machine, chooses the backend that suits it, says
// why, and builds device, region and flow source for the programs that hand
// them to the agent.
//
// Probe fills an Environment, which is data; Choose and Diagnose are functions
// of it, so that a recorded machine is a test. Open does all of it.
package detect
