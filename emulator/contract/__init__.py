"""The rules of the API and the acceptance cases: their texts, and which tests prove them."""
