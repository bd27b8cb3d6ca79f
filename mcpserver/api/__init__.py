"""Tools from descriptions of APIs: imported by the thousand, answered by the endpoint or by a virtual reply."""
