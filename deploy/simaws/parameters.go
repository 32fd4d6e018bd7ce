package simaws

import (
	"net/http"
	"slices"
	"strings"
)

// parameter is one of Parameter Store.
type parameter struct{ name, kind, value string }

// parameters are those that each region has.
func parameters() []parameter {
	return []parameter{
		{"/demo/db/password", "SecureString", "demo-is-no-secret"},
		{"/demo/regions", "StringList", "us-east-1,eu-central-1"},
		{"/demo/url", "String", "https://demo.example/"},
	}
}

// tell is a parameter as answers have it: what is encrypted stays so unless asked for.
func (c *call) tell(p parameter, decrypted bool) any {
	value := p.value
	if p.kind == "SecureString" && !decrypted {
		value = "AQICAHhciphertext"
	}
	return map[string]any{"Name": p.name, "Type": p.kind, "Value": value, "Version": 1, "LastModifiedDate": madeAt, "DataType": "text",
		"ARN": c.parameterARN(p.name)}
}

func (c *call) parameterARN(name string) string {
	return c.where("arn:{partition}:ssm:{region}:{account}:parameter/") + strings.Trim(name, "/")
}

// getParameters answers reads by name, all of which have to be allowed:
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html and API_GetParameter.html
func (s *Sim) getParameters(c *call, operation string) error {
	var in struct {
		Name           string
		Names          []string
		WithDecryption bool
	}
	if err := c.takes(&in); err != nil {
		return err
	}
	names := in.Names
	c.event.request = map[string]any{"names": names, "withDecryption": in.WithDecryption}
	if operation == "GetParameter" {
		names = []string{in.Name}
		c.event.request = map[string]any{"name": in.Name, "withDecryption": in.WithDecryption}
	}
	for _, name := range names {
		if err := c.authorize("ssm:"+operation, c.parameterARN(name)); err != nil {
			return err
		}
	}
	if len(names) == 0 || len(names) > 10 {
		return failure(http.StatusBadRequest, "ValidationException", "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length between 1 and 10")
	}
	found, missing := []any{}, []string{}
	for _, name := range names {
		all := parameters()
		if i := slices.IndexFunc(all, func(p parameter) bool { return p.name == name }); i >= 0 {
			found = append(found, c.tell(all[i], in.WithDecryption))
		} else {
			missing = append(missing, name)
		}
	}
	switch {
	case operation == "GetParameters":
		return c.json("1.1", map[string]any{"Parameters": found, "InvalidParameters": missing})
	case len(found) == 0:
		return failure(http.StatusBadRequest, "ParameterNotFound", "")
	}
	return c.json("1.1", map[string]any{"Parameter": found[0]})
}

// getParametersByPath gives what is below a path, on one page:
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
func (s *Sim) getParametersByPath(c *call) error {
	var in struct {
		Path                      string
		Recursive, WithDecryption bool
	}
	if err := c.takes(&in); err != nil {
		return err
	}
	c.event.request = map[string]any{"path": in.Path, "recursive": in.Recursive, "withDecryption": in.WithDecryption}
	if err := c.authorize("ssm:GetParametersByPath", c.parameterARN(in.Path)); err != nil {
		return err
	}
	if !strings.HasPrefix(in.Path, "/") {
		return failure(http.StatusBadRequest, "ValidationException", `The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/".`)
	}
	found := []any{}
	for _, p := range parameters() {
		below, ok := strings.CutPrefix(p.name, strings.TrimSuffix(in.Path, "/")+"/")
		if ok && (in.Recursive || !strings.Contains(below, "/")) {
			found = append(found, c.tell(p, in.WithDecryption))
		}
	}
	return c.json("1.1", map[string]any{"Parameters": found})
}
