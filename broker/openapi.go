package broker

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var openAPIYAML []byte

// openAPI is the description of the API as JSON.
func openAPI() ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(openAPIYAML, &doc); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return json.Marshal(doc)
}

func (b *Broker) getOpenAPI(*call) (any, error) {
	return text{"application/vnd.oai.openapi+json;version=3.1", b.openAPI}, nil
}
