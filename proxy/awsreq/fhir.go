package awsreq

import (
	"net/http"
	"strings"
)

// lookupFHIR reads HealthLake's FHIR, of which no service model tells: interactions with a
// data store's resources, and $everything. Of others it says nothing, and so of a path that is
// encoded or has more to it than these: /datastore/ID/r4/TYPE[/RESOURCE[/_history[/VERSION]]]
// (https://docs.aws.amazon.com/healthlake/latest/devguide/crud-healthlake.html; actions:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awshealthlake.html).
func lookupFHIR(in *Input, r *Request) bool {
	store, rest, ok := dataStore(in.Path)
	if !ok {
		return false
	}
	r.Service = "healthlake"
	if len(in.Header["X-Amz-Target"]) > 0 || overridden(in) { // the API's own operations, and FHIR's clients that cannot send PUT
		r.doubtful(twoOperations)
		return true
	}
	operation, level := interaction(in, rest)
	if operation == "" || !store {
		return true
	}
	r.Operation, r.Action, r.ActionKnown, r.AccessLevel = operation[len("healthlake:"):], operation, true, level
	if operation == "healthlake:ProcessBundle" {
		r.Also = bundled
	}
	return true
}

// bundled are the actions of the interactions that a bundle may hold
// (https://docs.aws.amazon.com/healthlake/latest/devguide/managing-fhir-resources-bundle.html).
var bundled = []Action{
	{"healthlake:CreateResource", Write}, {"healthlake:ReadResource", Read}, {"healthlake:UpdateResource", Write},
	{"healthlake:DeleteResource", Write}, {"healthlake:SearchWithGet", Read},
}

// dataStore cuts what stands behind the root of a data store's FHIR. known: its id has the
// form of one.
func dataStore(path string) (known bool, rest string, ok bool) {
	path, ok = strings.CutPrefix(path, "/datastore/")
	if !ok {
		return false, "", false
	}
	id, rest, _ := strings.Cut(path, "/")
	version, rest, _ := strings.Cut(rest, "/")
	return version == "r4" && id != "" && alphanumeric(id, ""), rest, true
}

// interaction is the action that a method and a path behind the root ask for.
func interaction(in *Input, path string) (action string, level AccessLevel) {
	typ, rest, deeper := strings.Cut(path, "/")
	switch {
	case path == "" && in.Method == http.MethodPost:
		return "healthlake:ProcessBundle", Write
	case path == "metadata" && in.Method == http.MethodGet:
		return "healthlake:GetCapabilities", Read
	case typ == "" || typ[0] < 'A' || typ[0] > 'Z' || !alphanumeric(typ, ""):
		return "", ""
	case !deeper && in.Method == http.MethodGet:
		return "healthlake:SearchWithGet", Read
	case !deeper && in.Method == http.MethodPost:
		return "healthlake:CreateResource", Write
	case rest == "_search" && in.Method == http.MethodPost:
		return "healthlake:SearchWithPost", Read
	}
	id, rest, deeper := strings.Cut(rest, "/")
	if !resourceID(id) {
		return "", ""
	}
	version, old := strings.CutPrefix(rest, "_history/")
	switch {
	case !deeper:
		switch in.Method {
		case http.MethodGet:
			return "healthlake:ReadResource", Read
		case http.MethodPut:
			return "healthlake:UpdateResource", Write
		case http.MethodPatch:
			return "healthlake:PatchResource", Write
		case http.MethodDelete:
			return "healthlake:DeleteResource", Write
		}
	case in.Method != http.MethodGet:
	case rest == "_history":
		return "healthlake:GetHistoryByResourceId", Read
	case old && resourceID(version):
		return "healthlake:VersionReadResource", Read
	case rest == "$everything" && typ == "Patient":
		return "healthlake:SearchEverything", Read
	}
	return "", ""
}

// resourceID tells the ids of FHIR (https://hl7.org/fhir/R4/datatypes.html#id), of which some
// would lead elsewhere in a path.
func resourceID(s string) bool {
	return s != "" && s != "." && s != ".." && alphanumeric(s, "-.")
}

// alphanumeric tells texts of ASCII's letters, digits, and more.
func alphanumeric(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}
