export default function Page() { return <p>applications</p>; }
