package simaws

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// madeAt is when what this simulation has by itself was made, in seconds.
const madeAt = 1767225600

// The key and the secret that each region has.
const (
	keyID     = "1234abcd-12ab-34cd-56ef-1234567890ab"
	keyARN    = "arn:{partition}:kms:{region}:{account}:key/" + keyID
	secretARN = "arn:{partition}:secretsmanager:{region}:{account}:secret:" + onlyThing + "-a1b2c3"
)

// jsonOperation names the operation of a call to a service that speaks JSON; "" for
// one that is not among the known.
func (c *call) jsonOperation(service string, known ...string) string {
	name, ok := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), service+".")
	if !ok || c.proto != protoJSON || !slices.Contains(known, name) {
		return ""
	}
	c.event.source = c.ep.service + ".amazonaws.com"
	c.event.nameIt(name)
	return name
}

// takes reads the body of a call.
func (c *call) takes(in any) error {
	if err := json.Unmarshal(c.body, in); err != nil {
		return failure(http.StatusBadRequest, "SerializationException", "the request body is not what "+c.event.name+" takes")
	}
	return nil
}

// serveKMS: https://docs.aws.amazon.com/kms/latest/APIReference/API_ListKeys.html
func (s *Sim) serveKMS(c *call) error {
	if c.jsonOperation("TrentService", "ListKeys") == "" {
		return s.serveUnknown(c)
	}
	var in struct{}
	if err := c.takes(&in); err != nil {
		return err
	}
	if err := c.authorize("kms:ListKeys", "*"); err != nil {
		return err
	}
	return c.json("1.1", map[string]any{"Keys": []any{map[string]string{"KeyId": keyID, "KeyArn": c.where(keyARN)}}, "Truncated": false})
}

// serveSecrets lists secrets, without what is secret of them. Filters are by name:
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html
func (s *Sim) serveSecrets(c *call) error {
	if c.jsonOperation("secretsmanager", "ListSecrets") == "" {
		return s.serveUnknown(c)
	}
	var in struct {
		Filters []struct {
			Key    string
			Values []string
		}
	}
	if err := c.takes(&in); err != nil {
		return err
	}
	if err := c.authorize("secretsmanager:ListSecrets", "*"); err != nil {
		return err
	}
	secrets := []any{map[string]any{"ARN": c.where(secretARN), "Name": onlyThing, "Description": "The simulated AWS keeps nothing in it", "KmsKeyId": c.where(keyARN),
		"CreatedDate": madeAt, "LastChangedDate": madeAt, "SecretVersionsToStages": map[string]any{"00000000-0000-4000-8000-000000000001": []string{"AWSCURRENT"}}}}
	for _, f := range in.Filters {
		if f.Key != "name" {
			return failure(http.StatusBadRequest, "InvalidParameterException", "The simulated AWS filters secrets by name only, not by "+f.Key+".")
		}
		if !slices.ContainsFunc(f.Values, func(v string) bool { return strings.HasPrefix(onlyThing, v) }) {
			secrets = []any{}
		}
	}
	return c.json("1.1", map[string]any{"SecretList": secrets})
}
