// Package imports holds the import table of the project, who may know whom and
// why not, as data and as tests.
package imports
