/** The guardrails of docs/runbooks.md: each one's word, and when it objects. */
declare const GUARDRAILS: [word: string, words: string][];
