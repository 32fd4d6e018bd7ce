package api

// NewPerson asks for a pseudonym.
type NewPerson struct {
	Name string `json:"name"`
}

// Person is who is behind a pseudonym.
type Person struct {
	Pseudonym string `json:"pseudonym"`
	Name      string `json:"name"`
	Connector string `json:"connector,omitempty"`
}

// People is a list of them.
type People struct {
	People []Person `json:"people"`
}
