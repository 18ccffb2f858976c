export default function Page() { return <p>config</p>; }
