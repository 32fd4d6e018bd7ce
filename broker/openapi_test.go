package broker

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/api"
)

type openAPIDoc struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Security    *[]map[string][]string
		RequestBody struct {
			Content map[string]struct{ Schema schemaRef }
		} `json:"requestBody"`
		Responses map[string]struct {
			Ref     string `json:"$ref"`
			Content map[string]struct{ Schema schemaRef }
		}
	}
	Components struct {
		Schemas map[string]struct {
			Required   []string
			Properties map[string]any
		}
	}
}

type schemaRef struct {
	Ref string `json:"$ref"`
}

func readOpenAPI(t *testing.T) openAPIDoc {
	t.Helper()
	text, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc openAPIDoc
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Every route is described, with its need of a certificate, and nothing else is.
func TestOpenAPIRoutes(t *testing.T) {
	doc := readOpenAPI(t)
	described := map[string]bool{}
	ids := map[string]bool{}
	for path, ops := range doc.Paths {
		for method, op := range ops {
			described[strings.ToUpper(method)+" "+path] = op.Security != nil && len(*op.Security) == 0
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: operationId %q is missing or there twice", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
			if op.Responses["default"].Ref == "" {
				t.Errorf("%s %s: errors are not described", method, path)
			}
		}
	}
	served := map[string]bool{}
	for _, r := range append((&Broker{}).table(), (&Broker{}).receiverTable()...) {
		served[r.method+" "+r.path] = r.open
	}
	if d := cmp.Diff(served, described); d != "" {
		t.Errorf("routes and whether they are open (-served +described):\n%s", d)
	}
}

// The schemas have the fields of the Go types, required where these are
// always written.
func TestOpenAPISchemas(t *testing.T) {
	doc := readOpenAPI(t)
	all := []any{
		api.AWSRole{}, api.App{}, api.Apps{}, api.CA{}, api.Certificate{}, api.CreateLock{}, api.CreateRequest{},
		api.CreateReview{}, api.Error{}, api.ErrorBody{}, api.Granted{}, api.Lock{}, api.LockTarget{}, api.Locks{},
		api.Login{}, api.DeviceProof{}, api.Password{}, api.Request{}, api.Requestable{}, api.Requests{}, api.ResourceResult{},
		api.Resources{}, api.ResourcesApplied{}, api.Review{}, api.Session{}, api.Sessions{}, api.StartSession{},
		api.Status{}, api.Threshold{}, api.HeldCall{}, api.RequestPreview{}, api.PreviewedRole{}, api.RevokeRequest{},
		api.SigninWays{}, api.ConnectorName{}, api.BrowserLogin{}, api.Browser{}, api.FinishLogin{}, api.DeviceLogin{}, api.Device{}, api.FinishDevice{}, api.BrowserProof{}, api.Factors{}, api.Factor{}, api.CreateInvitation{}, api.Invitation{}, api.Signins{}, api.Signin{},
		api.Access{}, api.UserAccess{}, api.CouldUse{}, api.Way{}, api.Permission{}, api.Cause{}, api.RanSession{},
		api.AccessList{}, api.AccessLists{}, api.ListMember{}, api.Membership{}, api.AddMember{}, api.ReviewList{}, api.PromoteRequest{},
		api.NewToken{}, api.TokenMade{}, api.Token{}, api.Tokens{}, api.Challenge{}, api.Join{}, api.JoinIAM{}, api.Renew{}, api.Announcement{}, api.AppSelector{}, api.Announced{},
		api.Joined{}, api.NATSAccess{}, api.NewConsumer{}, api.NewAuditToken{}, api.AuditTokenMade{}, api.AuditToken{}, api.AuditTokens{}, api.ConsumerMade{}, api.Consumer{}, api.Consumers{}, api.Push{}, api.Receiver{}, api.NewPerson{}, api.Person{}, api.People{}, api.Forgotten{}, api.RotateSecret{}, api.SecretRotated{}, api.DeadLetter{}, api.DeadLetters{}, api.Verification{}, api.Failing{}, api.RotateCA{}, api.Authority{},
		api.AccessDiff{}, api.AccessChange{}, api.AccessStep{},
	}
	seen := map[string]bool{}
	for _, v := range all {
		typ := reflect.TypeOf(v)
		seen[typ.Name()] = true
		fields, required := []string{}, []string{}
		for i := range typ.NumField() {
			name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			fields = append(fields, name)
			if options == "" {
				required = append(required, name)
			}
		}
		slices.Sort(fields)
		slices.Sort(required)
		s := doc.Components.Schemas[typ.Name()]
		if d := cmp.Diff(fields, slices.Sorted(maps.Keys(s.Properties))); d != "" {
			t.Errorf("%s: fields (-Go +openapi):\n%s", typ.Name(), d)
		}
		if d := cmp.Diff(required, slices.Sorted(slices.Values(s.Required))); d != "" && len(required)+len(s.Required) > 0 {
			t.Errorf("%s: required (-Go +openapi):\n%s", typ.Name(), d)
		}
	}
	for name := range doc.Components.Schemas {
		if !seen[name] {
			t.Errorf("schema %s is no type of package api", name)
		}
	}
	// Every reference leads somewhere.
	var walk func(at string, v any)
	var whole map[string]any
	text, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, w := range v {
				if ref, ok := w.(string); ok && k == "$ref" && !resolves(whole, ref) {
					t.Errorf("%s: %s leads nowhere", at, ref)
				}
				walk(at+"/"+k, w)
			}
		case []any:
			for _, w := range v {
				walk(at, w)
			}
		}
	}
	walk("", whole)
}

func resolves(doc map[string]any, ref string) bool {
	var v any = doc
	for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		if v, ok = m[part]; !ok {
			return false
		}
	}
	return true
}
