"""How well images were restored: metrics, protocols, traditional references, comparison pictures."""
