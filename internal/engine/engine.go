// Package engine holds the contracts between the daemon's parts: one interface
// per noun with its option values. The HTTP API calls them, the domains
// implement them, the composition root joins the two. There is no behaviour
// here, and nothing that only one part uses.
//
// Errors that cross these interfaces carry errs kinds and Docker's message text.
package engine

// Backend is what the API serves: one small interface per noun, implemented by
// the domains and handed over by the composition root.
type Backend struct {
	Containers Containers
	Execs      Execs
	Images     Images
	Networks   Networks
	Volumes    Volumes
	Events     Events
	System     System
}

// Filters are the decoded `filters` query: key → accepted values.
type Filters map[string][]string
